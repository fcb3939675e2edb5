//! Decryption of samples in memory, beside the cipher alone over as many bytes in one piece.
//!
//! ```text
//! cargo bench -p keyward-content --bench samples
//! ```
//! Every figure is of the same 3 MB. A share of the cipher is the ratio of two throughputs of one run.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panic")]

use std::hint::black_box;

use aes::{Aes128, cipher::StreamCipher};
use aws_lc_rs::{
    cipher::{AES_128, DecryptionContext, StreamingDecryptingKey, UnboundCipherKey},
    iv::FixedLength,
};
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use keyward_content::cenc::{Iv, Pattern, SampleCipher, Scheme, Subsample};
use keyward_crypto::ContentKey;

const KEY: [u8; 16] = [0x5c; 16];
const IV: [u8; 16] = [7; 16];

/// A sample of 1080p video at 40 Mbit/s and 25 pictures a second is larger, one of 30 Mbit/s about this.
const VIDEO: usize = 150_000;
/// AAC of 192 kbit/s at 48 kHz has samples of about this length.
const AUDIO: usize = 470;
/// Twenty samples of video.
const BYTES: usize = 20 * VIDEO;

/// Slice header and start of the sample in the clear, the rest protected in whole blocks, as of one slice.
fn video() -> Vec<Subsample> {
    let (clear, protected) = (112, 149_888);
    assert_eq!(clear as usize + protected as usize, VIDEO);
    vec![Subsample { clear, protected }]
}

fn samples(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (name, len): (&str, usize),
    cipher: &SampleCipher,
    subsamples: &[Subsample],
) {
    let iv = match cipher.scheme() {
        Scheme::Cenc => Iv::new(&[7; 8]).unwrap(),
        _ => Iv::new(&IV).unwrap(),
    };
    let mut media = vec![0x35; BYTES / len * len];
    group.throughput(Throughput::Bytes(media.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            for sample in media.chunks_exact_mut(len) {
                cipher.decrypt(black_box(sample), &iv, subsamples).unwrap();
            }
        });
    });
}

fn cenc(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cenc");
    let cipher = SampleCipher::new(&ContentKey::new(KEY), Scheme::Cenc, Pattern::NONE).unwrap();
    samples(&mut group, ("video samples of 150 kB", VIDEO), &cipher, &video());
    samples(&mut group, ("audio samples of 470 B", AUDIO), &cipher, &[]);

    group.throughput(Throughput::Bytes(BYTES as u64));
    let mut media = vec![0x35; BYTES];
    group.bench_function("AES-CTR alone, the same library", |bencher| {
        let mut stream = ctr::Ctr64BE::<Aes128>::new(&KEY.into(), &IV.into());
        bencher.iter(|| stream.apply_keystream(black_box(&mut media)));
    });
    // The library asks for room for one block more.
    let mut clear = vec![0; BYTES + 16];
    group.bench_function("AES-CTR alone, aws-lc", |bencher| {
        let key = UnboundCipherKey::new(&AES_128, &KEY).unwrap();
        let context = DecryptionContext::Iv128(FixedLength::from(IV));
        let mut stream = StreamingDecryptingKey::ctr(key, context).unwrap();
        bencher.iter(|| {
            stream
                .update(black_box(&media), &mut clear)
                .unwrap()
                .written()
                .len()
        });
    });
    group.finish();
}

fn cbcs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cbcs");
    let key = ContentKey::new(KEY);
    let patterned = SampleCipher::new(&key, Scheme::Cbcs, Pattern::VIDEO).unwrap();
    samples(
        &mut group,
        ("video samples of 150 kB", VIDEO),
        &patterned,
        &video(),
    );
    let whole = SampleCipher::new(&key, Scheme::Cbcs, Pattern::NONE).unwrap();
    samples(&mut group, ("audio samples of 470 B", AUDIO), &whole, &[]);

    let alone = |group: &mut BenchmarkGroup<'_, WallTime>, name: &str, len: usize| {
        let mut media = vec![[0x35; 16].into(); len / 16];
        // Bytes of media that have so many encrypted blocks.
        group.throughput(Throughput::Bytes(BYTES as u64));
        group.bench_function(name, |bencher| {
            let mut chain = cbc::Decryptor::<Aes128>::new(&KEY.into(), &IV.into());
            bencher.iter(|| chain.decrypt_blocks(black_box(&mut media)));
        });
    };
    alone(&mut group, "AES-CBC alone, one block in ten", BYTES / 10);
    alone(&mut group, "AES-CBC alone, every block", BYTES);
    group.finish();
}

criterion_group!(benches, cenc, cbcs);
criterion_main!(benches);
