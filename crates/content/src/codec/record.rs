//! Decoder configuration records: the length of NAL length fields, and parameter sets.

use super::CodecError;

/// What a map needs of an `avcC` or `hvcC` box.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Bytes of a NAL length field: 1, 2 or 4.
    pub(super) length_size: usize,
    /// The NAL units of the record, of every type.
    pub(super) nals: Vec<&'a [u8]>,
}

/// `AVCDecoderConfigurationRecord`, ISO/IEC 14496-15, 5.3.3.1.2. What follows the picture parameter sets
/// says nothing about slice headers and is not read.
pub(super) fn avc(record: &[u8]) -> Result<Record<'_>, CodecError> {
    let mut reader = Reader(record);
    let [version, _profile, _compatibility, _level, lengths, sets] = reader.take()?;
    let mut nals = Vec::new();
    reader.nals((sets & 0x1f).into(), &mut nals)?;
    let [sets] = reader.take()?;
    reader.nals(sets.into(), &mut nals)?;
    record_of(version, lengths, nals)
}

/// `HEVCDecoderConfigurationRecord`, ISO/IEC 14496-15, 8.3.3.1.2.
pub(super) fn hevc(record: &[u8]) -> Result<Record<'_>, CodecError> {
    let mut reader = Reader(record);
    let [version, _profile_to_frame_rate @ ..] = reader.take::<21>()?;
    let [lengths, arrays] = reader.take()?;
    let mut nals = Vec::new();
    for _ in 0..arrays {
        let [_kind, high, low] = reader.take()?;
        reader.nals(u16::from_be_bytes([high, low]), &mut nals)?;
    }
    record_of(version, lengths, nals)
}

/// `VPCodecConfigurationRecord` and the version and flags in front of it (VP Codec ISO Media File Format Binding).
/// It says nothing about headers; one that cannot be read shows a file that is damaged.
pub(super) fn vp(record: &[u8]) -> Result<(), CodecError> {
    let [version, _flags_to_matrix @ .., high, low] = Reader(record).take::<12>()?;
    let initialisation = u16::from_be_bytes([high, low]);
    if version == 1 && initialisation == 0 {
        Ok(())
    } else {
        Err(CodecError::Record)
    }
}

fn record_of(version: u8, lengths: u8, nals: Vec<&[u8]>) -> Result<Record<'_>, CodecError> {
    match (version, lengths & 3) {
        (1, 0) => Ok(Record { length_size: 1, nals }),
        (1, 1) => Ok(Record { length_size: 2, nals }),
        (1, 3) => Ok(Record { length_size: 4, nals }),
        _ => Err(CodecError::Record),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(CodecError::Record)?;
        self.0 = rest;
        Ok(*head)
    }

    /// `count` NAL units, each behind its length in two bytes.
    fn nals(&mut self, count: u16, nals: &mut Vec<&'a [u8]>) -> Result<(), CodecError> {
        for _ in 0..count {
            let len = u16::from_be_bytes(self.take()?);
            let (nal, rest) = self.0.split_at_checked(len.into()).ok_or(CodecError::Record)?;
            self.0 = rest;
            nals.push(nal);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVC: [u8; 16] = [1, 100, 0, 31, 0xff, 0xe1, 0, 2, 0x67, 9, 1, 0, 3, 0x68, 8, 7];

    fn hevc_record() -> Vec<u8> {
        let mut record = vec![1; 21];
        record.extend([0xfd, 2, 0x20, 0, 1, 0, 2, 0x40, 1, 0xa1, 0, 2, 0, 1, 0x42, 0, 0]);
        record
    }

    #[test]
    fn records_are_read() {
        let record = avc(&AVC).unwrap();
        assert_eq!(record.length_size, 4);
        assert_eq!(record.nals, [&[0x67, 9][..], &[0x68, 8, 7]]);
        let bytes = hevc_record();
        let record = hevc(&bytes).unwrap();
        assert_eq!(record.length_size, 2);
        assert_eq!(record.nals, [&[0x40, 1][..], &[0x42], &[]]);
    }

    #[test]
    fn what_follows_the_sets_of_avc_is_not_read() {
        let long = [AVC.as_slice(), &[0xfd, 0xf8, 0xf8, 0]].concat();
        assert_eq!(avc(&long).unwrap(), avc(&AVC).unwrap());
    }

    #[test]
    fn a_record_that_is_cut_off_is_refused() {
        for len in 0..AVC.len() {
            assert!(matches!(avc(&AVC[..len]), Err(CodecError::Record)), "{len}");
        }
        let bytes = hevc_record();
        for len in 0..bytes.len() {
            assert!(matches!(hevc(&bytes[..len]), Err(CodecError::Record)), "{len}");
        }
    }

    #[test]
    fn records_of_vp9_are_checked() {
        let record = [1, 0, 0, 0, 0, 20, 0x82, 2, 2, 2, 0, 0];
        assert!(vp(&record).is_ok());
        for (at, value) in [(0, 0), (0, 2), (10, 1), (11, 1)] {
            let mut changed = record;
            changed[at] = value;
            assert!(
                matches!(vp(&changed), Err(CodecError::Record)),
                "byte {at} = {value}"
            );
        }
        assert!(matches!(vp(&record[..11]), Err(CodecError::Record)));
    }

    #[test]
    fn another_version_or_three_byte_lengths_are_refused() {
        for (at, value) in [(0, 0), (0, 2), (4, 0xfe)] {
            let mut record = AVC;
            record[at] = value;
            assert!(
                matches!(avc(&record), Err(CodecError::Record)),
                "byte {at} = {value}"
            );
        }
    }
}
