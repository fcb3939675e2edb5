//! The boxes that say how the samples of a sample entry are protected.

use keyward_license::ids::Kid;

use super::{BoxError, BoxKind, BoxSpan, Fields, FourCc, Node, SampleEntry, kind};
use crate::cenc::{Iv, Pattern, Scheme};

/// How the samples of a sample entry are protected (ISO/IEC 14496-12, 8.12; ISO/IEC 23001-7, clause 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryProtection {
    /// The format of the sample entry before it was protected (`frma`).
    pub original_format: FourCc,
    /// The scheme as `schm` states it; zeros without that box.
    pub scheme_type: FourCc,
    /// Its version.
    pub scheme_version: u32,
    /// The scheme of common encryption; nothing for another kind of protection. PIFF is taken for the scheme
    /// that its algorithm amounts to.
    pub scheme: Option<Scheme>,
    /// What protects samples that are in no sample group (`tenc`).
    pub default: Option<TrackEncryption>,
}

impl EntryProtection {
    /// The `sinf` box that says this: `frma`, `schm`, and `schi` with `tenc` if there is a default.
    #[must_use]
    pub fn to_node(&self) -> Node<'static> {
        let scheme = [self.scheme_type.0, self.scheme_version.to_be_bytes()].concat();
        let mut children = vec![
            Node::new(kind::FRMA, self.original_format.0.to_vec()),
            Node::full(kind::SCHM, 0, 0, &scheme),
        ];
        if let Some(default) = &self.default {
            let patterned = self.scheme.is_some_and(Scheme::has_pattern);
            children.push(Node::container(kind::SCHI, vec![default.to_node(patterned)]));
        }
        Node::container(kind::SINF, children)
    }

    /// The protection of a sample entry: of several `sinf` boxes the first that is common encryption.
    pub(crate) fn of_entry(entry: &SampleEntry<'_>) -> Result<Option<Self>, BoxError> {
        let mut found: Option<Self> = None;
        for child in entry.children()? {
            let child = child?;
            if child.kind() == kind::SINF && found.is_none_or(|found| found.scheme.is_none()) {
                let protection = Self::parse(&child)?;
                found = found.filter(|_| protection.scheme.is_none()).or(Some(protection));
            }
        }
        Ok(found)
    }

    fn parse(sinf: &BoxSpan<'_>) -> Result<Self, BoxError> {
        let frma = sinf.need(kind::FRMA)?;
        let original_format = frma.fields().fourcc()?;
        if original_format == kind::UUID {
            // A header of another form: in its place, a sample entry could not be read any more.
            return Err(frma.invalid("the original format is a sample entry's, not that of an extended type"));
        }
        let (mut scheme_type, mut scheme_version) = (FourCc([0; 4]), 0);
        if let Some(schm) = sinf.child(kind::SCHM)? {
            let mut fields = schm.fields();
            fields.version_and_flags()?;
            scheme_type = fields.fourcc()?;
            scheme_version = fields.u32()?;
        }
        let mut protection = Self {
            original_format,
            scheme_type,
            scheme_version,
            scheme: Scheme::from_fourcc(scheme_type.0),
            default: None,
        };
        if scheme_type == kind::PIFF {
            protection.scheme = Some(Scheme::Cenc);
        }
        if let (Some(schi), true) = (sinf.child(kind::SCHI)?, protection.scheme.is_some()) {
            protection.read_default(&schi)?;
        }
        Ok(protection)
    }

    fn read_default(&mut self, schi: &BoxSpan<'_>) -> Result<(), BoxError> {
        if let Some(tenc) = schi.child(kind::TENC)? {
            self.default = Some(TrackEncryption::from_tenc(&tenc)?);
            return Ok(());
        }
        for child in schi.children() {
            let child = child?;
            if child.kind() == BoxKind::Uuid(kind::PIFF_TENC) {
                let mut fields = child.fields();
                fields.version_and_flags()?;
                let (scheme, encryption) = TrackEncryption::from_piff(&mut fields)?;
                self.default = Some(encryption);
                self.scheme = Some(scheme);
            }
        }
        Ok(())
    }
}

/// What protects samples: the fields of `tenc` and of a `seig` group (ISO/IEC 23001-7, 8.2 and clause 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackEncryption {
    /// Whether the samples are protected at all.
    pub protected: bool,
    /// Which blocks are encrypted; 0:0 in a `tenc` of version 0.
    pub pattern: Pattern,
    /// Bytes of the IV that each sample has: 8 or 16, or 0 with a constant IV.
    pub iv_size: u8,
    /// The key.
    pub kid: Kid,
    /// The IV of every sample, if samples have none of their own.
    pub constant_iv: Option<Iv>,
}

impl TrackEncryption {
    /// The `tenc` box that says this, of version 1 if `patterned`, else of version 0, which has no pattern.
    #[must_use]
    pub fn to_node(&self, patterned: bool) -> Node<'static> {
        let body = [&[0][..], &self.to_bytes()].concat();
        Node::full(kind::TENC, patterned.into(), 0, &body)
    }

    /// The entry of a `sgpd` box for `seig` that says this (clause 6).
    pub(crate) fn to_group(self) -> Vec<u8> {
        [&[0][..], &self.to_bytes()].concat()
    }

    /// From the pattern on.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![
            self.pattern.crypt() << 4 | self.pattern.skip(),
            self.protected.into(),
            self.iv_size,
        ];
        bytes.extend_from_slice(self.kid.as_bytes());
        if let Some(iv) = &self.constant_iv {
            bytes.push(u8::try_from(iv.as_bytes().len()).unwrap_or_default());
            bytes.extend_from_slice(iv.as_bytes());
        }
        bytes
    }

    fn from_tenc(tenc: &BoxSpan<'_>) -> Result<Self, BoxError> {
        let mut fields = tenc.fields();
        match fields.version_and_flags()?.0 {
            0 => {
                fields.bytes(2)?;
                Self::read(&mut fields, Pattern::NONE)
            }
            1 => {
                fields.bytes(1)?;
                let pattern = read_pattern(&mut fields)?;
                Self::read(&mut fields, pattern)
            }
            _ => Err(tenc.unsupported("this version of the track encryption box")),
        }
    }

    /// An entry of a `sgpd` box for `seig`.
    pub(crate) fn from_group(fields: &mut Fields<'_>) -> Result<Self, BoxError> {
        let several_keys = fields.unsupported("several keys in one sample");
        if fields.u8()? & 0x80 != 0 {
            return Err(several_keys);
        }
        let pattern = read_pattern(fields)?;
        Self::read(fields, pattern)
    }

    /// From the algorithm on: PIFF 1.1, 5.3.3.1, where the algorithm stands for the scheme.
    pub(crate) fn from_piff(fields: &mut Fields<'_>) -> Result<(Scheme, Self), BoxError> {
        let unsupported = fields.unsupported("this algorithm");
        let [a, b, algorithm] = fields.array()?;
        let scheme = match [a, b, algorithm] {
            [0, 0, 0 | 1] => Scheme::Cenc,
            [0, 0, 2] => Scheme::Cbc1,
            _ => return Err(unsupported),
        };
        let iv_size = fields.u8()?;
        let encryption = Self {
            protected: algorithm != 0,
            pattern: Pattern::NONE,
            iv_size,
            kid: Kid::new(fields.array()?),
            constant_iv: None,
        };
        encryption.check_iv_size(fields)?;
        if encryption.protected && iv_size == 0 {
            return Err(fields.invalid("a protected sample has no IV"));
        }
        Ok((scheme, encryption))
    }

    fn read(fields: &mut Fields<'_>, pattern: Pattern) -> Result<Self, BoxError> {
        let unsupported = fields.unsupported("this kind of protection");
        let protected = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return Err(unsupported),
        };
        let mut encryption = Self {
            protected,
            pattern,
            iv_size: fields.u8()?,
            kid: Kid::new(fields.array()?),
            constant_iv: None,
        };
        encryption.check_iv_size(fields)?;
        if protected && encryption.iv_size == 0 {
            let len = fields.u8()?;
            let iv = fields.bytes(len.into())?;
            let iv = Iv::new(iv).map_err(|_| fields.invalid("the constant IV has neither 8 nor 16 bytes"))?;
            encryption.constant_iv = Some(iv);
        }
        Ok(encryption)
    }

    const fn check_iv_size(&self, fields: &Fields<'_>) -> Result<(), BoxError> {
        match self.iv_size {
            0 | 8 | 16 => Ok(()),
            _ => Err(fields.invalid("the IV size is not 0, 8 or 16")),
        }
    }

    /// Bytes of IV that each sample has in its auxiliary information: none if it is not protected.
    pub(crate) const fn sample_iv_size(&self) -> usize {
        if self.protected { self.iv_size as usize } else { 0 }
    }
}

fn read_pattern(fields: &mut Fields<'_>) -> Result<Pattern, BoxError> {
    let invalid = fields.invalid("the pattern encrypts no blocks but skips some");
    let byte = fields.u8()?;
    Pattern::new(byte >> 4, byte & 15).map_err(|_| invalid)
}
