//! MD5 (RFC 1321) as a fingerprint that interoperability tools compare, and nothing else.
//!
//! Media tools print and publish MD5 lists of samples (`framemd5`). MD5 is broken: nothing here or
//! elsewhere may decide anything about trust, integrity or identity by it. [`kdf`](crate::kdf) has SHA-256.

use md5::{Digest, Md5};

/// The MD5 fingerprint of the concatenation of `parts`. No security whatever.
#[must_use]
pub fn fingerprint(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1321, A.5.
    #[test]
    fn published_digests() {
        for (text, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ] {
            let (left, right) = text.as_bytes().split_at(text.len() / 2);
            assert_eq!(hex::encode(fingerprint(&[left, right])), digest);
        }
    }
}
