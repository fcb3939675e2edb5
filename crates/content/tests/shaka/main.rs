//! Shaka Packager as a peer: the same clear samples give the same subsamples and the same protected bytes,
//! in every scheme.
//!
//! ffmpeg makes the video, Shaka Packager packages it clear and protected, and every sample of the
//! protected file is held against what [`SampleMapper`] and [`SampleCipher`] make of the clear one.
//! `KEYWARD_FFMPEG`, `KEYWARD_FFMPEG_OLD` and `KEYWARD_PACKAGER` name the programs.
//!
//! Of AV1 and VP9 it leaves the bytes that are too many for whole blocks clear at the end of a range, and the
//! bindings of both to MP4 want them at its beginning: maps are held against its own as it makes them, and the
//! maps that the bindings want must protect as many bytes in as many ranges.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panic and says what it did"
)]

mod cases;
mod fragments;
mod peers;

use keyward_content::{
    cenc::{Iv, Pattern, SampleCipher, Scheme, Subsample},
    codec::SampleMapper,
};
use keyward_crypto::ContentKey;

use fragments::Track;
use peers::{KEY, Peers};

#[test]
fn avc_samples_are_mapped_as_shaka_packager_maps_them() {
    compare(&cases::AVC);
}

#[test]
fn hevc_samples_are_mapped_as_shaka_packager_maps_them() {
    compare(&cases::HEVC);
}

#[test]
fn av1_samples_are_mapped_as_shaka_packager_maps_them() {
    compare(&cases::AV1);
}

#[test]
fn vp9_samples_are_mapped_as_shaka_packager_maps_them() {
    compare(&cases::VP9);
}

#[test]
fn vp8_samples_are_protected_as_shaka_packager_protects_them() {
    compare(&cases::VP8);
}

#[test]
fn audio_samples_are_protected_as_shaka_packager_protects_them() {
    compare(&cases::AUDIO);
}

fn compare(cases: &[cases::Case]) {
    let Some(peers) = Peers::find() else {
        return;
    };
    let mut samples = 0;
    for case in cases {
        let media = peers.encode(case);
        let clear = Track::read(&peers.package(&media, case, None));
        for scheme in Scheme::ALL {
            let protected = Track::read(&peers.package(&media, case, Some(scheme)));
            let compared = compare_track(case, scheme, &clear, &protected);
            eprintln!("{}: {scheme}, {compared} samples", case.name);
            samples += compared;
        }
    }
    eprintln!("{samples} samples compared with Shaka Packager");
}

fn compare_track(case: &cases::Case, scheme: Scheme, clear: &Track, protected: &Track) -> usize {
    let name = case.name;
    let protection = protected.protection.as_ref().unwrap();
    assert_eq!(protection.scheme, scheme.fourcc());
    let pattern = Pattern::new(protection.crypt, protection.skip).unwrap();
    let cipher = SampleCipher::new(&ContentKey::new(KEY), scheme, pattern).unwrap();
    let mapper = || match case.stream {
        "audio" => SampleMapper::audio(),
        _ => SampleMapper::video(clear.format, &record(case, clear)).unwrap(),
    };
    let (mut own, mut mapper) = (mapper(), mapper().aligned_from_start());
    assert_eq!(clear.samples.len(), protected.samples.len(), "{name}");
    assert!(
        clear.samples.len() >= case.at_least,
        "{name}: {}",
        clear.samples.len()
    );
    let mut subsamples = Vec::new();
    for (index, (clear, protected)) in clear.samples.iter().zip(&protected.samples).enumerate() {
        let place = format!("{name}, {scheme}, sample {index} of {} bytes", clear.bytes.len());
        mapper
            .map(&mut clear.bytes.as_slice(), scheme, &mut subsamples)
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(subsamples, protected.subsamples, "{place}");
        let ranges = protected_ranges(&subsamples);
        own.map(&mut clear.bytes.as_slice(), scheme, &mut subsamples)
            .unwrap();
        assert_eq!(protected_ranges(&subsamples), ranges, "{place}: own map");
        let subsamples = &protected.subsamples;
        let iv = if protected.iv.is_empty() {
            &protection.iv
        } else {
            &protected.iv
        };
        let iv = Iv::new(iv).unwrap();
        let mut sample = clear.bytes.clone();
        cipher.encrypt(&mut sample, &iv, subsamples).unwrap();
        assert!(sample == protected.bytes, "{place}: protected bytes");
        cipher.decrypt(&mut sample, &iv, subsamples).unwrap();
        assert!(sample == clear.bytes, "{place}: clear bytes");
    }
    clear.samples.len()
}

/// Bytes of each range that is protected.
fn protected_ranges(subsamples: &[Subsample]) -> Vec<u32> {
    let sizes = subsamples.iter().map(|subsample| subsample.protected);
    sizes.filter(|size| *size > 0).collect()
}

/// The decoder configuration record; without its parameter sets if the samples hold them.
fn record(case: &cases::Case, track: &Track) -> Vec<u8> {
    match &track.format {
        b"avc3" => [&track.record[..5], &[0xe0, 0]].concat(),
        b"hev1" => [&track.record[..22], &[0]].concat(),
        _ => {
            assert!(
                !case.name.ends_with("sets-repeated"),
                "parameter sets in the samples"
            );
            track.record.clone()
        }
    }
}
