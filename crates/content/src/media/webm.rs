//! WebM and Matroska, told by their first bytes. They are not read: whoever names one learns what it is.
//!
//! Elements of RFC 8794 (EBML) and RFC 9559 (Matroska); protection as the WebM project has it (WebM Encryption).

/// Bytes from the beginning of a file that are enough for [`Matroska::of`], unless much else stands in front of the
/// tracks.
pub const WEBM_HEAD_LEN: usize = 64 << 10;

/// The first four bytes of every Matroska file: the id of the EBML header.
const EBML: u32 = 0x1a45_dfa3;
const DOC_TYPE: u32 = 0x4282;
const SEGMENT: u32 = 0x1853_8067;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const CONTENT_ENCODINGS: u32 = 0x6d80;
const CONTENT_ENCODING: u32 = 0x6240;
const CONTENT_ENCRYPTION: u32 = 0x5035;

/// A file in the Matroska container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matroska {
    /// Whether it is of the kind that browsers play.
    pub is_webm: bool,
    /// Whether a track states that it is encrypted; nothing if the tracks are not among the bytes.
    pub is_encrypted: Option<bool>,
}

impl Matroska {
    /// Whether something begins like Matroska; 4 bytes are enough.
    #[must_use]
    pub fn begins(head: &[u8]) -> bool {
        head.starts_with(&EBML.to_be_bytes())
    }

    /// What the first bytes of a file say, [`WEBM_HEAD_LEN`] or all of them; nothing if it is no Matroska.
    ///
    /// ```
    /// use keyward_content::media::Matroska;
    ///
    /// let head = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm";
    /// let found = Matroska::of(head).unwrap();
    /// assert_eq!((found.is_webm, found.is_encrypted), (true, None));
    /// assert_eq!(Matroska::of(b"\0\0\0\x18ftypisom"), None);
    /// ```
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let mut elements = Elements(head);
        let (_, header) = elements.next().filter(|(id, _)| *id == EBML)?;
        let doc_type = child(header, DOC_TYPE).unwrap_or_default();
        let tracks = elements
            .find(|(id, _)| *id == SEGMENT)
            .and_then(|(_, segment)| child(segment, TRACKS));
        Some(Self {
            // Padding of a string is zeros (RFC 8794, 7.4).
            is_webm: doc_type.split(|byte| *byte == 0).next() == Some(b"webm"),
            is_encrypted: tracks.map(|tracks| any(tracks, TRACK_ENTRY, is_encrypted)),
        })
    }
}

fn is_encrypted(track: &[u8]) -> bool {
    any(track, CONTENT_ENCODINGS, |encodings| {
        any(encodings, CONTENT_ENCODING, |encoding| {
            child(encoding, CONTENT_ENCRYPTION).is_some()
        })
    })
}

fn any(bytes: &[u8], wanted: u32, mut test: impl FnMut(&[u8]) -> bool) -> bool {
    Elements(bytes).any(|(id, body)| id == wanted && test(body))
}

fn child(bytes: &[u8], wanted: u32) -> Option<&[u8]> {
    Elements(bytes).find_map(|(id, body)| (id == wanted).then_some(body))
}

/// Ids and bodies of elements that follow one another. The last may be cut off; what is no element ends them.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = number(self.0, 4)?;
        let (size, rest) = number(rest, 8)?;
        // All bits set: up to the end (RFC 8794, 6.2).
        let marker = 1_u64.checked_shl(size.checked_ilog2()?)?;
        let is_unknown = size.count_ones() == marker.trailing_zeros().saturating_add(1);
        let len = usize::try_from(size ^ marker).unwrap_or(usize::MAX);
        let len = if is_unknown { usize::MAX } else { len };
        let (body, behind) = rest.split_at(len.min(rest.len()));
        self.0 = behind;
        Some((u32::try_from(id).ok()?, body))
    }
}

/// A number of variable size, its length marker included (RFC 8794, 4), of at most `most` bytes.
fn number(bytes: &[u8], most: usize) -> Option<(u64, &[u8])> {
    let len = usize::try_from(bytes.first()?.leading_zeros())
        .ok()?
        .checked_add(1)?;
    let (number, rest) = bytes.split_at_checked(len).filter(|_| len <= most)?;
    let value = number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}
