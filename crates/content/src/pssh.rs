//! Protection system specific headers: what a protected file says to one protection system
//! (`pssh` box, ISO/IEC 23001-7, 8.1).
//!
//! ```text
//!   size u32 │ 'pssh' │ version u8 │ flags u24 │ system id 16 │ version 1: count u32, KIDs │ size u32 │ data
//! ```
//!
//! Keyward writes two: one of its own system, whose data is the content header, and one of the common
//! system, which names the key ids to players of any kind. One of PlayReady's system is written only on
//! request: real PlayReady clients would take it for theirs and ask a license server that is none.
//!
//! What is refused: boxes that their fields do not fill exactly, versions above 1 and flags. Nothing in
//! a box is authenticated.
//!
//! ```
//! use keyward_content::pssh::{Pssh, SystemId};
//! use keyward_license::ids::Kid;
//!
//! let kid: Kid = "a2c786d0-f9ef-4cb3-b333-cd323a4284a5".parse()?;
//! let written = Pssh::common(vec![kid]).to_bytes()?;
//! let read = Pssh::parse(&written)?;
//! assert_eq!((read.system_id, read.kids), (SystemId::COMMON, Some(vec![kid])));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;

use keyward_license::ids::Kid;

const SIZE_LEN: usize = 4;
const TYPE: &[u8; 4] = b"pssh";

/// The UUID of a protection system, as its 16 big-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SystemId([u8; 16]);

impl SystemId {
    /// Keyward, 92ab032d-9148-4523-b399-9950fa29a1bd: the data is a PlayReady Object.
    pub const KEYWARD: Self = Self(0x92ab_032d_9148_4523_b399_9950_fa29_a1bd_u128.to_be_bytes());
    /// The common system of the World Wide Web Consortium, 1077efec-c0b2-4d02-ace3-3c1e52e2fb4b: key ids
    /// alone.
    pub const COMMON: Self = Self(0x1077_efec_c0b2_4d02_ace3_3c1e_52e2_fb4b_u128.to_be_bytes());
    /// PlayReady, 9a04f079-9840-4286-ab92-e65be0885f95: the data is a PlayReady Object.
    pub const PLAYREADY: Self = Self(0x9a04_f079_9840_4286_ab92_e65b_e088_5f95_u128.to_be_bytes());

    /// The system with these bytes, as a box holds them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Lower case with hyphens, as in `urn:uuid:`.
impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemId({self})")
    }
}

/// One `pssh` box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pssh {
    /// The protection system that is addressed.
    pub system_id: SystemId,
    /// The key ids of a box of version 1; nothing in one of version 0.
    pub kids: Option<Vec<Kid>>,
    /// What only the addressed system understands.
    pub data: Vec<u8>,
}

impl Pssh {
    /// The box of Keyward's own system: `object` is the content header as a PlayReady Object.
    #[must_use]
    pub const fn keyward(object: Vec<u8>) -> Self {
        Self::of_version_0(SystemId::KEYWARD, object)
    }

    /// The box of the common system, which holds key ids alone.
    #[must_use]
    pub const fn common(kids: Vec<Kid>) -> Self {
        Self {
            system_id: SystemId::COMMON,
            kids: Some(kids),
            data: Vec::new(),
        }
    }

    /// The box of PlayReady's system. Only for content whose license server speaks PlayReady.
    #[must_use]
    pub const fn playready(object: Vec<u8>) -> Self {
        Self::of_version_0(SystemId::PLAYREADY, object)
    }

    /// Reads a whole box.
    ///
    /// # Errors
    /// [`PsshError`] if `bytes` is anything but exactly one well-formed box.
    pub fn parse(bytes: &[u8]) -> Result<Self, PsshError> {
        let (read, rest) = Self::split(bytes)?;
        if rest.is_empty() {
            Ok(read)
        } else {
            Err(PsshError::Bounds)
        }
    }

    /// Reads boxes one behind the other, as a manifest or the initialisation data of a browser holds them.
    ///
    /// # Errors
    /// [`PsshError`] unless well-formed boxes fill `bytes` exactly.
    pub fn parse_all(mut bytes: &[u8]) -> Result<Vec<Self>, PsshError> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (read, rest) = Self::split(bytes)?;
            all.push(read);
            bytes = rest;
        }
        Ok(all)
    }

    /// Reads what stands behind size and type of a box: version, flags and so on.
    ///
    /// # Errors
    /// [`PsshError`] unless the fields fill `body` exactly.
    pub fn parse_body(body: &[u8]) -> Result<Self, PsshError> {
        let mut rest = body;
        let [version, flags @ ..] = take::<4>(&mut rest)?;
        if flags != [0; 3] {
            return Err(PsshError::Flags);
        }
        let system_id = SystemId(take(&mut rest)?);
        let kids = match version {
            0 => None,
            1 => Some(take_kids(&mut rest)?),
            _ => return Err(PsshError::Version(version)),
        };
        let size = u32::from_be_bytes(take(&mut rest)?);
        if usize::try_from(size) != Ok(rest.len()) {
            return Err(PsshError::Bounds);
        }
        Ok(Self {
            system_id,
            kids,
            data: rest.to_vec(),
        })
    }

    /// Writes the whole box: version 1 if there are [`kids`](Self::kids), even none, else version 0.
    ///
    /// # Errors
    /// [`PsshError::TooLong`] if it would have 4 GiB or more.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PsshError> {
        let mut bytes = [&[0; SIZE_LEN], TYPE.as_slice()].concat();
        bytes.extend([self.kids.is_some().into(), 0, 0, 0]);
        bytes.extend(self.system_id.0);
        if let Some(kids) = &self.kids {
            bytes.extend(
                u32::try_from(kids.len())
                    .map_err(|_| PsshError::TooLong)?
                    .to_be_bytes(),
            );
            kids.iter().for_each(|kid| bytes.extend(kid.as_bytes()));
        }
        bytes.extend(
            u32::try_from(self.data.len())
                .map_err(|_| PsshError::TooLong)?
                .to_be_bytes(),
        );
        bytes.extend(&self.data);
        let size = u32::try_from(bytes.len()).map_err(|_| PsshError::TooLong)?;
        bytes
            .iter_mut()
            .zip(size.to_be_bytes())
            .for_each(|(byte, part)| *byte = part);
        Ok(bytes)
    }

    const fn of_version_0(system_id: SystemId, data: Vec<u8>) -> Self {
        Self {
            system_id,
            kids: None,
            data,
        }
    }

    /// One box and the bytes behind it.
    fn split(bytes: &[u8]) -> Result<(Self, &[u8]), PsshError> {
        let mut head = bytes;
        let size = u32::from_be_bytes(take(&mut head)?);
        if &take::<4>(&mut head)? != TYPE {
            return Err(PsshError::Type);
        }
        let size = usize::try_from(size).map_err(|_| PsshError::Bounds)?;
        let (whole, rest) = bytes.split_at_checked(size).ok_or(PsshError::Bounds)?;
        let body = whole
            .get(SIZE_LEN.saturating_add(TYPE.len())..)
            .ok_or(PsshError::Bounds)?;
        Ok((Self::parse_body(body)?, rest))
    }
}

/// The count is compared with the bytes that are there before anything is made of it.
fn take_kids(rest: &mut &[u8]) -> Result<Vec<Kid>, PsshError> {
    let count = u32::from_be_bytes(take(rest)?);
    let len = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(16))
        .ok_or(PsshError::Bounds)?;
    let (kids, behind) = rest.split_at_checked(len).ok_or(PsshError::Bounds)?;
    *rest = behind;
    Ok(kids.as_chunks().0.iter().copied().map(Kid::new).collect())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], PsshError> {
    let (head, behind) = rest.split_first_chunk().ok_or(PsshError::Bounds)?;
    *rest = behind;
    Ok(*head)
}

/// Why bytes are not a `pssh` box, or fields cannot be written as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PsshError {
    /// A box of another type.
    #[error("the box is not a 'pssh' box")]
    Type,
    /// A size or count that the bytes do not bear out.
    #[error("the fields of the 'pssh' box do not fill it exactly")]
    Bounds,
    /// A version that is not published.
    #[error("the 'pssh' box has version {0}, neither 0 nor 1")]
    Version(u8),
    /// Flags, of which none is defined.
    #[error("the 'pssh' box has flags that are not defined")]
    Flags,
    /// More data than a box can hold.
    #[error("the 'pssh' box would have 4 GiB or more")]
    TooLong,
}

impl PsshError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::TooLong => "package the content with fewer keys",
            _ => "the content was damaged or made by a faulty packager; get it again from its source",
        }
    }
}

#[cfg(test)]
mod tests;
