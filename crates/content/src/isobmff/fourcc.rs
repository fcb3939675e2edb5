//! Four-character codes and box kinds.

use core::fmt;

/// A four-character code: the type of a box, a sample entry format, a handler, a scheme.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// The code in its number form, big-endian.
    #[must_use]
    pub const fn to_u32(self) -> u32 {
        u32::from_be_bytes(self.0)
    }
}

impl fmt::Display for FourCc {
    /// Printable characters as they are, others as `\x..`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// What a box is: its type, or the extended type of a `uuid` box (ISO/IEC 14496-12, 4.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum BoxKind {
    /// A box of a registered type.
    Type(FourCc),
    /// A `uuid` box, by its 16 bytes as they stand in the file.
    Uuid([u8; 16]),
}

impl BoxKind {
    /// The type field of the header: `uuid` for an extended type.
    #[must_use]
    pub const fn fourcc(self) -> FourCc {
        match self {
            Self::Type(fourcc) => fourcc,
            Self::Uuid(_) => kind::UUID,
        }
    }
}

impl From<FourCc> for BoxKind {
    fn from(fourcc: FourCc) -> Self {
        Self::Type(fourcc)
    }
}

impl PartialEq<FourCc> for BoxKind {
    fn eq(&self, other: &FourCc) -> bool {
        matches!(self, Self::Type(fourcc) if fourcc == other)
    }
}

impl fmt::Display for BoxKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fourcc().fmt(f)
    }
}

impl fmt::Debug for BoxKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(fourcc) => fourcc.fmt(f),
            Self::Uuid(bytes) => write!(f, "uuid {:032x}", u128::from_be_bytes(*bytes)),
        }
    }
}

/// The codes that this module knows by name.
pub mod kind {
    use super::FourCc;

    macro_rules! codes {
        ($($name:ident = $code:literal, $doc:literal;)*) => {$(
            #[doc = $doc]
            pub const $name: FourCc = FourCc(*$code);
        )*};
    }

    codes! {
        FTYP = b"ftyp", "File type and brands (ISO/IEC 14496-12, 4.3).";
        STYP = b"styp", "Segment type (8.16.2).";
        FREE = b"free", "Free space (8.1.2).";
        UUID = b"uuid", "A box of an extended type (4.2.2).";
        MDAT = b"mdat", "Media data (8.1.1).";
        META = b"meta", "Metadata (8.11.1).";
        MOOV = b"moov", "Movie (8.2.1).";
        MVHD = b"mvhd", "Movie header (8.2.2).";
        TRAK = b"trak", "Track (8.3.1).";
        TKHD = b"tkhd", "Track header (8.3.2).";
        EDTS = b"edts", "Edits (8.6.5).";
        ELST = b"elst", "Edit list (8.6.6).";
        MDIA = b"mdia", "Media of a track (8.4.1).";
        MDHD = b"mdhd", "Media header (8.4.2).";
        HDLR = b"hdlr", "Handler (8.4.3).";
        MINF = b"minf", "Media information (8.4.4).";
        DINF = b"dinf", "Data information (8.7.1).";
        DREF = b"dref", "Data references (8.7.2).";
        STBL = b"stbl", "Sample table (8.5.1).";
        STSD = b"stsd", "Sample descriptions (8.5.2).";
        STTS = b"stts", "Decoding times (8.6.1.2).";
        CTTS = b"ctts", "Composition offsets (8.6.1.3).";
        CSLG = b"cslg", "Composition to decode timeline (8.6.1.4).";
        STSS = b"stss", "Sync samples (8.6.2).";
        STSH = b"stsh", "Shadow sync samples (8.6.3).";
        SDTP = b"sdtp", "Sample dependencies (8.6.4).";
        STSZ = b"stsz", "Sample sizes (8.7.3.2).";
        STZ2 = b"stz2", "Compact sample sizes (8.7.3.3).";
        STSC = b"stsc", "Samples per chunk (8.7.4).";
        STCO = b"stco", "Chunk offsets of 32 bits (8.7.5).";
        CO64 = b"co64", "Chunk offsets of 64 bits (8.7.5).";
        PADB = b"padb", "Padding bits (8.7.6).";
        STDP = b"stdp", "Degradation priorities (8.5.3).";
        SUBS = b"subs", "Subsample information (8.7.7); not the subsamples of common encryption.";
        SAIZ = b"saiz", "Sizes of sample auxiliary information (8.7.8).";
        SAIO = b"saio", "Offsets of sample auxiliary information (8.7.9).";
        SBGP = b"sbgp", "Samples to groups (8.9.2).";
        SGPD = b"sgpd", "Group descriptions (8.9.3).";
        CSGP = b"csgp", "Compact samples to groups (8.9.5).";
        SEIG = b"seig", "The grouping type of common encryption (ISO/IEC 23001-7, clause 6).";
        MVEX = b"mvex", "Movie extends: the file is fragmented (8.8.1).";
        MEHD = b"mehd", "Movie extends header (8.8.2).";
        TREX = b"trex", "Track extends: defaults of fragments (8.8.3).";
        MOOF = b"moof", "Movie fragment (8.8.4).";
        MFHD = b"mfhd", "Movie fragment header (8.8.5).";
        TRAF = b"traf", "Track fragment (8.8.6).";
        TFHD = b"tfhd", "Track fragment header (8.8.7).";
        TRUN = b"trun", "Track run (8.8.8).";
        TFDT = b"tfdt", "Decode time of a track fragment (8.8.12).";
        MFRA = b"mfra", "Random access to movie fragments (8.8.9).";
        TFRA = b"tfra", "Random access points of a track (8.8.10).";
        MFRO = b"mfro", "Size of `mfra` (8.8.11).";
        SIDX = b"sidx", "Segment index (8.16.3).";
        SINF = b"sinf", "Protection scheme of a sample entry (8.12.1).";
        FRMA = b"frma", "Original format (8.12.2).";
        SCHM = b"schm", "Scheme type (8.12.5).";
        SCHI = b"schi", "Scheme information (8.12.6).";
        TENC = b"tenc", "Track encryption (ISO/IEC 23001-7, 8.2).";
        SENC = b"senc", "Sample encryption (ISO/IEC 23001-7, 7.2).";
        PSSH = b"pssh", "Protection system specific header (ISO/IEC 23001-7, 8.1).";
        RINF = b"rinf", "Restricted scheme of a sample entry (8.15.3).";
        ENCV = b"encv", "A protected visual sample entry (8.12).";
        ENCA = b"enca", "A protected audio sample entry (8.12).";
        VIDE = b"vide", "Handler: video (12.1).";
        AUXV = b"auxv", "Handler: auxiliary video (12.1).";
        PICT = b"pict", "Handler: pictures (ISO/IEC 23008-12).";
        SOUN = b"soun", "Handler: audio (12.2).";
        PIFF = b"piff", "The scheme type of the PIFF format, older than common encryption.";
    }

    /// The extended type of PIFF's sample encryption box, of the same form as `senc`.
    pub const PIFF_SENC: [u8; 16] = 0xa239_4f52_5a9b_4f14_a244_6c42_7c64_8df4_u128.to_be_bytes();
    /// The extended type of PIFF's track encryption box, of the same form as a `tenc` of version 0.
    pub const PIFF_TENC: [u8; 16] = 0x8974_dbce_7be7_4c51_84f9_7148_f988_2554_u128.to_be_bytes();
}
