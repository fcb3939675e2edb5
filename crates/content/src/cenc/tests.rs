//! Samples against an implementation that goes block by block, and maps against their rules.

use aes_gcm::{
    KeyInit,
    aes::{
        Aes128,
        cipher::{BlockCipherDecrypt, BlockCipherEncrypt},
    },
};
use keyward_crypto::ContentKey;
use keyward_license::license::KeyType;
use proptest::prelude::*;

use super::*;

const KEY: [u8; 16] = [0x3a; 16];

fn cipher(scheme: Scheme, pattern: Pattern) -> SampleCipher {
    SampleCipher::new(&ContentKey::new(KEY), scheme, pattern).unwrap()
}

fn subsample(clear: u16, protected: u32) -> Subsample {
    Subsample { clear, protected }
}

/// ISO/IEC 23001-7, clauses 9 and 10, in the order of its words and without any haste.
struct Naive {
    aes: Aes128,
    scheme: Scheme,
    pattern: Pattern,
    iv: [u8; 16],
    /// CBC: the block before. CTR: the counter block.
    state: [u8; 16],
    /// Unused bytes of the key stream.
    stream: Vec<u8>,
}

impl Naive {
    fn run(
        scheme: Scheme,
        pattern: Pattern,
        direction: Direction,
        sample: &mut [u8],
        iv: &Iv,
        subsamples: &[Subsample],
    ) {
        let mut naive = Self {
            aes: Aes128::new(&KEY.into()),
            scheme,
            pattern,
            iv: *iv.block(),
            state: *iv.block(),
            stream: Vec::new(),
        };
        if subsamples.is_empty() {
            return naive.range(direction, sample);
        }
        let mut rest = sample;
        for subsample in subsamples {
            let (_clear, behind) = rest.split_at_mut(subsample.clear.into());
            let (range, behind) = behind.split_at_mut(subsample.protected as usize);
            naive.range(direction, range);
            rest = behind;
        }
    }

    fn range(&mut self, direction: Direction, range: &mut [u8]) {
        if self.scheme == Scheme::Cenc {
            range.iter_mut().for_each(|byte| *byte ^= self.key_stream_byte());
            return;
        }
        if self.scheme == Scheme::Cbcs {
            self.state = self.iv;
        }
        let (crypt, skip) = (
            usize::from(self.pattern.crypt()),
            usize::from(self.pattern.skip()),
        );
        for (index, block) in range.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            if crypt + skip > 0 && index % (crypt + skip) >= crypt {
                continue;
            }
            match (self.scheme, direction) {
                (Scheme::Cens, _) => block.iter_mut().for_each(|byte| *byte ^= self.key_stream_byte()),
                (_, Direction::Encrypt) => {
                    let mut mixed = xor(block, &self.state).into();
                    self.aes.encrypt_block(&mut mixed);
                    *block = mixed.into();
                    self.state = *block;
                }
                (_, Direction::Decrypt) => {
                    let mut mixed = (*block).into();
                    self.aes.decrypt_block(&mut mixed);
                    let clear = xor(&mixed.into(), &self.state);
                    self.state = *block;
                    *block = clear;
                }
            }
        }
    }

    fn key_stream_byte(&mut self) -> u8 {
        if self.stream.is_empty() {
            let mut block = self.state.into();
            self.aes.encrypt_block(&mut block);
            self.stream = block.to_vec();
            let counter = u64::from_be_bytes(self.state[8..].try_into().unwrap());
            self.state[8..].copy_from_slice(&counter.wrapping_add(1).to_be_bytes());
        }
        self.stream.remove(0)
    }
}

fn xor(left: &[u8; 16], right: &[u8; 16]) -> [u8; 16] {
    std::array::from_fn(|index| left[index] ^ right[index])
}

fn any_scheme() -> impl Strategy<Value = (Scheme, Pattern)> {
    let pattern = (1_u8..=15, 0_u8..=15).prop_map(|(crypt, skip)| Pattern::new(crypt, skip).unwrap());
    let pattern = prop_oneof![Just(Pattern::NONE), Just(Pattern::VIDEO), pattern];
    (prop::sample::select(&Scheme::ALL), pattern).prop_map(|(scheme, pattern)| {
        let pattern = if scheme.has_pattern() {
            pattern
        } else {
            Pattern::NONE
        };
        (scheme, pattern)
    })
}

fn any_iv() -> impl Strategy<Value = Iv> {
    let long = prop_oneof![any::<[u8; 16]>(), Just([0xff; 16])];
    prop_oneof![
        any::<u64>().prop_map(Iv::from_u64),
        long.prop_map(|iv| Iv::new(&iv).unwrap())
    ]
}

fn any_subsamples() -> impl Strategy<Value = Vec<Subsample>> {
    let ranges = prop_oneof![
        (0_u16..40, 0_u32..40),
        (0_u16..300, 0_u32..3000),
        (0_u16..9, Just(0))
    ];
    prop::collection::vec(
        ranges.prop_map(|(clear, protected)| subsample(clear, protected)),
        1..6,
    )
}

proptest! {
    #[test]
    fn samples_are_those_of_the_slow_implementation(
        (scheme, pattern) in any_scheme(),
        iv in any_iv(),
        subsamples in prop_oneof![any_subsamples(), Just(Vec::new())],
        bytes in prop::collection::vec(any::<u8>(), 20_000),
        whole in 0_usize..5000,
        windows in prop::collection::vec(1_usize..900, 1..5),
    ) {
        let len = if subsamples.is_empty() { whole } else { usize::try_from(total_len(&subsamples)).unwrap() };
        let clear = &bytes[..len];
        let cipher = cipher(scheme, pattern);
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            let mut slow = clear.to_vec();
            Naive::run(scheme, pattern, direction, &mut slow, &iv, &subsamples);
            let mut sample = clear.to_vec();
            match direction {
                Direction::Encrypt => cipher.encrypt(&mut sample, &iv, &subsamples).unwrap(),
                Direction::Decrypt => cipher.decrypt(&mut sample, &iv, &subsamples).unwrap(),
            }
            prop_assert!(sample == slow);
            let mut pieces = clear.to_vec();
            in_windows(&cipher, direction, &mut pieces, &iv, &subsamples, &windows);
            prop_assert!(pieces == slow);
        }
        let mut sample = clear.to_vec();
        cipher.encrypt(&mut sample, &iv, &subsamples).unwrap();
        cipher.decrypt(&mut sample, &iv, &subsamples).unwrap();
        prop_assert!(sample == clear);
    }

    #[test]
    fn maps_cover_their_sample_in_one_form(
        ranges in prop::collection::vec((0_u64..100_000, 0_u64..100), 0..8),
        alignment in prop::sample::select(&[Alignment::Bytes, Alignment::FromStart, Alignment::ToEnd]),
    ) {
        let mut out = vec![subsample(1, 1)];
        let mut map = SubsampleMap::new(&mut out, alignment);
        let mut protected = Vec::new();
        let (mut len, mut whole) = (0, 0);
        for (clear, data) in &ranges {
            map.push(*clear, *data).unwrap();
            len += clear;
            let kept = if alignment == Alignment::Bytes { *data } else { data - data % 16 };
            let begin = if alignment == Alignment::ToEnd { len + data % 16 } else { len };
            if kept > 0 {
                protected.push((begin, kept));
            }
            len += data;
            whole += kept;
        }
        map.finish().unwrap();
        prop_assert_eq!(total_len(&out), len);
        let (mut at, mut found) = (0, Vec::new());
        for (index, subsample) in out.iter().enumerate() {
            at += u64::from(subsample.clear);
            if subsample.protected > 0 {
                found.push((at, u64::from(subsample.protected)));
            } else {
                prop_assert!(subsample.clear == u16::MAX || index + 1 == out.len());
            }
            at += u64::from(subsample.protected);
        }
        prop_assert_eq!(found, protected);
        prop_assert_eq!(out.iter().map(|subsample| u64::from(subsample.protected)).sum::<u64>(), whole);
    }
}

/// Through a window that keeps what `process` leaves.
fn in_windows(
    cipher: &SampleCipher,
    direction: Direction,
    sample: &mut [u8],
    iv: &Iv,
    subsamples: &[Subsample],
    windows: &[usize],
) {
    let mut run = cipher
        .begin(direction, sample.len() as u64, iv, subsamples)
        .unwrap();
    let (mut done, mut end) = (0, 0);
    for window in windows.iter().cycle() {
        assert_eq!(run.remaining(), (sample.len() - done) as u64);
        if end == sample.len() && done == end {
            break;
        }
        end = sample.len().min(end + window);
        done += run.process(&mut sample[done..end]);
        assert!(end - done < 480);
    }
}

#[test]
fn bytes_behind_the_sample_are_not_touched() {
    for scheme in Scheme::ALL {
        let cipher = cipher(scheme, Pattern::NONE);
        let iv = Iv::from_u64(1);
        let subsamples = [subsample(1, 32), subsample(3, 0)];
        let mut bytes = [5; 64];
        let mut run = cipher.begin(Direction::Encrypt, 36, &iv, &subsamples).unwrap();
        assert_eq!(run.process(&mut bytes), 36);
        assert_eq!((run.remaining(), run.process(&mut bytes[36..])), (0, 0));
        assert_eq!(bytes[36..], [5; 28]);
        assert_ne!(bytes[1..33], [5; 32]);
    }
}

#[test]
fn subsamples_shall_add_up() {
    let cipher = cipher(Scheme::Cenc, Pattern::NONE);
    for subsamples in [
        vec![subsample(4, 5)],
        vec![subsample(4, 7)],
        vec![subsample(0, 0)],
        vec![subsample(9, u32::MAX); 3],
    ] {
        let mut sample = [1; 10];
        let covered = total_len(&subsamples);
        let refused = Err(CencError::SubsampleTotal { covered, actual: 10 });
        assert_eq!(
            cipher.encrypt(&mut sample, &Iv::from_u64(0), &subsamples),
            refused
        );
        assert_eq!(
            cipher.decrypt(&mut sample, &Iv::from_u64(0), &subsamples),
            refused
        );
        assert_eq!(sample, [1; 10]);
    }
    assert_eq!(cipher.encrypt(&mut [], &Iv::from_u64(0), &[]), Ok(()));
}

#[test]
fn schemes_have_their_names_and_key_types() {
    let expected = [
        (Scheme::Cenc, "cenc", false, KeyType::CencCtr),
        (Scheme::Cens, "cens", true, KeyType::CencCtr),
        (Scheme::Cbc1, "cbc1", false, KeyType::CencCbc),
        (Scheme::Cbcs, "cbcs", true, KeyType::CencCbc),
    ];
    for (scheme, name, pattern, key_type) in expected {
        assert_eq!(scheme.to_string(), name);
        assert_eq!(scheme.fourcc(), name.as_bytes());
        assert_eq!(Scheme::from_fourcc(scheme.fourcc()), Some(scheme));
        assert_eq!((scheme.has_pattern(), scheme.key_type()), (pattern, key_type));
        let made = SampleCipher::new(&ContentKey::new(KEY), scheme, Pattern::VIDEO).map(|_| ());
        let refused = Err(CencError::PatternOfScheme(scheme));
        assert_eq!(made, if pattern { Ok(()) } else { refused });
    }
    assert_eq!(Scheme::from_fourcc(*b"CENC"), None);
    assert_eq!(Scheme::from_fourcc(*b"piff"), None);
}

#[test]
fn patterns_are_of_four_bits_and_protect_something() {
    assert_eq!(Pattern::new(0, 0), Ok(Pattern::NONE));
    assert_eq!(Pattern::new(1, 9), Ok(Pattern::VIDEO));
    assert_eq!(
        Pattern::new(15, 15).map(|pattern| pattern.to_string()),
        Ok("15:15".into())
    );
    for (crypt, skip) in [(0, 1), (16, 0), (1, 16), (255, 255)] {
        assert_eq!(Pattern::new(crypt, skip), Err(CencError::Pattern { crypt, skip }));
    }
}

#[test]
fn ivs_are_8_or_16_bytes() {
    let short = Iv::new(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(short.as_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(short.block(), &[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(format!("{short:?}"), "Iv(0102030405060708)");
    let long = Iv::new(&[9; 16]).unwrap();
    assert_eq!((long.as_bytes(), long.block()), (&[9; 16][..], &[9; 16]));
    for len in [0, 7, 9, 15, 17] {
        assert_eq!(Iv::new(&vec![0; len]), Err(CencError::IvLength(len)));
    }
}

#[test]
fn ivs_count_samples_or_blocks() {
    assert_eq!(Iv::from_u64(0x01ff).following(1 << 40), Iv::from_u64(0x0200));
    assert_eq!(Iv::from_u64(u64::MAX).following(1), Iv::from_u64(0));
    let long = |low: u64| {
        let block = (0x0011_2233_4455_6677_u128 << 64) | u128::from(low);
        Iv::new(&block.to_be_bytes()).unwrap()
    };
    for (low, protected, next) in [(5, 0, 5), (5, 1, 6), (5, 16, 6), (5, 17, 7), (u64::MAX, 33, 2)] {
        assert_eq!(
            long(low).following(protected),
            long(next),
            "{low} + {protected} bytes"
        );
    }
}

#[test]
fn long_clear_ranges_are_cut() {
    let mut out = Vec::new();
    let mut map = SubsampleMap::new(&mut out, Alignment::Bytes);
    map.push(65_535, 1).unwrap();
    map.push(65_536, 1).unwrap();
    map.push(140_000, 0).unwrap();
    map.push(0, 15).unwrap();
    map.push(65_535, 0).unwrap();
    map.finish().unwrap();
    let expected = [
        (65_535, 1),
        (65_535, 0),
        (1, 1),
        (65_535, 0),
        (65_535, 0),
        (8930, 15),
        (65_535, 0),
    ];
    assert_eq!(
        out,
        expected.map(|(clear, protected)| subsample(clear, protected))
    );
    let mut map = SubsampleMap::new(&mut out, Alignment::FromStart);
    assert_eq!(map.push(0, 1 << 32), Err(CencError::TooLong(1 << 32)));
    map.push(1 << 32, 0).unwrap();
    assert_eq!(map.finish(), Err(CencError::TooLong(1 << 32)));
}

#[test]
fn debug_never_shows_the_key() {
    let cipher = cipher(Scheme::Cbcs, Pattern::VIDEO);
    let text = format!(
        "{cipher:?} {:?}",
        cipher.begin(Direction::Encrypt, 9, &Iv::from_u64(3), &[])
    );
    assert!(
        text.contains("MediaKey(redacted)") && text.contains("CbcEncryptor(redacted)"),
        "{text}"
    );
    assert!(!text.contains("58"), "{text}");
}
