//! Shaka Packager as a peer: the same clear samples give the same subsamples and the same protected bytes,
//! in `cenc` and in `cbcs`.
//!
//! ffmpeg makes the video, Shaka Packager packages it clear and protected, and every sample of the
//! protected file is held against what [`SampleMapper`] and [`SampleCipher`] make of the clear one.
//! `KEYWARD_FFMPEG` and `KEYWARD_PACKAGER` name the two programs.

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
    cenc::{Iv, Pattern, SampleCipher, Scheme},
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
        for scheme in [Scheme::Cenc, Scheme::Cbcs] {
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
    let mut mapper = match case.stream {
        "audio" => SampleMapper::audio(),
        _ => SampleMapper::video(clear.format, &record(case, clear)).unwrap(),
    };
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
        let iv = if protected.iv.is_empty() {
            &protection.iv
        } else {
            &protected.iv
        };
        let iv = Iv::new(iv).unwrap();
        let mut sample = clear.bytes.clone();
        cipher.encrypt(&mut sample, &iv, &subsamples).unwrap();
        assert!(sample == protected.bytes, "{place}: protected bytes");
        cipher.decrypt(&mut sample, &iv, &protected.subsamples).unwrap();
        assert!(sample == clear.bytes, "{place}: clear bytes");
    }
    clear.samples.len()
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
