//! New fragments and their auxiliary information.

use super::{
    BoxError, BoxPath, Node, Sample, SampleFlags,
    fragment::{header_flag, run_flag},
    kind,
};
use crate::cenc::{Iv, Subsample};

/// A track fragment to be written: samples whose bytes follow one another in the `mdat` box.
#[derive(Debug, Clone, Copy)]
pub struct NewTrackFragment<'s> {
    /// The track.
    pub track_id: u32,
    /// Sample entry, from 1.
    pub description_index: u32,
    /// Decode time of the first sample.
    pub decode_time: u64,
    /// Where its data begins, from the first byte of the body of `mdat`.
    pub data_start: u64,
    /// The samples. Duration, size, flags and composition offset count.
    pub samples: &'s [Sample],
}

/// A `moof` box (ISO/IEC 14496-12, 8.8.4) with one `traf` box for each of `tracks`: `tfhd`, `tfdt`, and one
/// `trun`. What all samples share stands in the header.
///
/// Data offsets are counted as if the body of `mdat` began at the first byte of the `moof` box: when the box has its
/// final length, follow with [`shift_data_offsets`](super::edit::shift_data_offsets) by that length and the
/// header of `mdat`.
///
/// # Errors
/// [`BoxError::OutOfRange`] for values that do not fit their fields.
pub fn new_fragment(sequence: u32, tracks: &[NewTrackFragment<'_>]) -> Result<Node<'static>, BoxError> {
    let mut children = vec![Node::full(kind::MFHD, 0, 0, &sequence.to_be_bytes())];
    for track in tracks {
        children.push(track.to_node()?);
    }
    Ok(Node::container(kind::MOOF, children))
}

impl NewTrackFragment<'_> {
    fn to_node(self) -> Result<Node<'static>, BoxError> {
        let shared = Shared::of(self.samples);
        Ok(Node::container(
            kind::TRAF,
            vec![
                shared.header(self.track_id, self.description_index),
                Node::full(kind::TFDT, 1, 0, &self.decode_time.to_be_bytes()),
                shared.run(self.samples, self.data_start)?,
            ],
        ))
    }
}

/// What all samples of a run have in common.
struct Shared {
    duration: Option<u32>,
    size: Option<u32>,
    flags: Option<SampleFlags>,
    /// Flags of the first sample, if only they differ.
    first_flags: Option<SampleFlags>,
    composition: bool,
    signed: bool,
}

impl Shared {
    fn of(samples: &[Sample]) -> Self {
        let rest = samples.get(1..).unwrap_or_default();
        let rest_flags = common(rest, |sample| sample.flags);
        let flags = common(samples, |sample| sample.flags);
        Self {
            duration: common(samples, |sample| sample.duration),
            size: common(samples, |sample| sample.size),
            flags: flags.or(rest_flags),
            first_flags: match flags {
                Some(_) => None,
                None => samples
                    .first()
                    .map(|sample| sample.flags)
                    .filter(|_| rest_flags.is_some()),
            },
            composition: samples.iter().any(|sample| sample.composition_offset != 0),
            signed: samples.iter().any(|sample| sample.composition_offset < 0),
        }
    }

    fn header(&self, track_id: u32, description_index: u32) -> Node<'static> {
        let mut flags = header_flag::MOOF_BASE | header_flag::DESCRIPTION;
        let mut body = [track_id.to_be_bytes(), description_index.to_be_bytes()].concat();
        let defaults = [
            (header_flag::DURATION, self.duration),
            (header_flag::SIZE, self.size),
            (header_flag::FLAGS, self.flags.map(|flags| flags.0)),
        ];
        for (flag, value) in defaults {
            if let Some(value) = value {
                flags |= flag;
                body.extend_from_slice(&value.to_be_bytes());
            }
        }
        Node::full(kind::TFHD, 0, flags, &body)
    }

    fn run(&self, samples: &[Sample], data_start: u64) -> Result<Node<'static>, BoxError> {
        let count = u32::try_from(samples.len()).map_err(|_| out_of_range("the number of samples"))?;
        let data_start = i32::try_from(data_start).map_err(|_| out_of_range("the data offset"))?;
        let mut flags = run_flag::DATA_OFFSET;
        let mut body = [count.to_be_bytes(), data_start.to_be_bytes()].concat();
        if let Some(first) = self.first_flags {
            flags |= run_flag::FIRST_FLAGS;
            body.extend_from_slice(&first.0.to_be_bytes());
        }
        for (flag, absent) in [
            (run_flag::DURATION, self.duration.is_some()),
            (run_flag::SIZE, self.size.is_some()),
            (run_flag::FLAGS, self.flags.is_some()),
            (run_flag::COMPOSITION, !self.composition),
        ] {
            flags |= if absent { 0 } else { flag };
        }
        for sample in samples {
            let values = [
                (run_flag::DURATION, sample.duration),
                (run_flag::SIZE, sample.size),
                (run_flag::FLAGS, sample.flags.0),
                (
                    run_flag::COMPOSITION,
                    self.composition_bits(sample.composition_offset)?,
                ),
            ];
            for (flag, value) in values {
                if flags & flag != 0 {
                    body.extend_from_slice(&value.to_be_bytes());
                }
            }
        }
        Ok(Node::full(kind::TRUN, self.signed.into(), flags, &body))
    }

    fn composition_bits(&self, offset: i64) -> Result<u32, BoxError> {
        let bits = if self.signed {
            i32::try_from(offset).map(i32::cast_unsigned)
        } else {
            u32::try_from(offset)
        };
        bits.map_err(|_| out_of_range("the composition offset"))
    }
}

/// The value that all samples share.
fn common<T: PartialEq>(samples: &[Sample], value: impl Fn(&Sample) -> T) -> Option<T> {
    let (first, rest) = samples.split_first()?;
    let first = value(first);
    rest.iter().all(|sample| value(sample) == first).then_some(first)
}

fn out_of_range(what: &'static str) -> BoxError {
    let path = BoxPath::TOP.join(kind::TRUN.into()).unwrap_or(BoxPath::TOP);
    BoxError::OutOfRange { path, what }
}

/// IVs and subsamples of the samples of a track fragment, to be written as `senc`, `saiz` and `saio`
/// (ISO/IEC 23001-7, 7.2; ISO/IEC 14496-12, 8.7.8 and 8.7.9).
#[derive(Debug, Clone, Default)]
pub struct AuxiliaryBoxes {
    records: Vec<u8>,
    /// Bytes of each record.
    sizes: Vec<u32>,
    /// Whether the records have subsamples.
    subsamples: bool,
}

impl AuxiliaryBoxes {
    /// For samples that all have subsamples, or all have none.
    #[must_use]
    pub fn new(subsamples: bool) -> Self {
        Self {
            subsamples,
            ..Self::default()
        }
    }

    /// Appends the information of the next sample: its IV, unless that is constant, and its subsamples.
    ///
    /// # Errors
    /// [`BoxError::OutOfRange`] for more than 65,535 subsamples; [`BoxError::Edit`] for subsamples where none
    /// were announced.
    pub fn push(&mut self, iv: Option<&Iv>, subsamples: &[Subsample]) -> Result<(), BoxError> {
        let before = self.records.len();
        let count = u16::try_from(subsamples.len()).map_err(|_| out_of_range("the number of subsamples"))?;
        if count > 0 && !self.subsamples {
            return Err(BoxError::Edit {
                path: BoxPath::TOP.join(kind::SENC.into()).unwrap_or(BoxPath::TOP),
                why: "it has no subsamples",
            });
        }
        self.records.extend_from_slice(iv.map_or(&[], Iv::as_bytes));
        if self.subsamples {
            self.records.extend_from_slice(&count.to_be_bytes());
            for part in subsamples {
                self.records.extend_from_slice(&part.clear.to_be_bytes());
                self.records.extend_from_slice(&part.protected.to_be_bytes());
            }
        }
        let len = self.records.len().saturating_sub(before);
        self.sizes
            .push(u32::try_from(len).map_err(|_| out_of_range("the subsamples"))?);
        Ok(())
    }

    /// The boxes: `saiz`, `saio` and `senc`.
    ///
    /// Without any information (a constant IV, no subsamples) there is only a `senc`: an empty `saiz` keeps some
    /// players from reading the file. Neither is there more if the information of a sample is above 255 bytes,
    /// which `saiz` cannot say.
    ///
    /// # Errors
    /// [`BoxError::OutOfRange`] above 2^32 samples.
    pub(crate) fn to_nodes(&self) -> Result<Vec<Node<'static>>, BoxError> {
        let count = u32::try_from(self.sizes.len()).map_err(|_| out_of_range("the number of samples"))?;
        let body = [&count.to_be_bytes()[..], &self.records].concat();
        let senc = Node::full(kind::SENC, 0, if self.subsamples { 2 } else { 0 }, &body);
        let sizes: Result<Vec<u8>, _> = self.sizes.iter().map(|size| u8::try_from(*size)).collect();
        let (Ok(sizes), false) = (sizes, self.records.is_empty()) else {
            return Ok(vec![senc]);
        };
        let same = sizes
            .first()
            .copied()
            .filter(|first| sizes.iter().all(|size| size == first));
        let mut body = vec![same.unwrap_or(0)];
        body.extend_from_slice(&count.to_be_bytes());
        body.extend_from_slice(if same.is_some() { &[] } else { &sizes });
        Ok(vec![
            Node::full(kind::SAIZ, 0, 0, &body),
            Node::full(kind::SAIO, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
            senc,
        ])
    }
}
