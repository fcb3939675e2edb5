//! The corpora of the fuzz targets, replayed without a fuzzer. A file's name says what its target must
//! answer: `valid-…` and `invalid-…` are seeds with a verdict, to `script-…` the target's assertions are the
//! answer; `found-…` made a target fail once, and may not again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use keyward_testkit::fuzzing::{TARGETS, Target, seeds};

/// Largest size of all corpora together, in bytes: they travel with every clone.
const MOST_BYTES: usize = 1 << 20;

#[test]
fn every_target_answers_its_corpus_as_the_names_say() {
    let mut size = 0;
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        size += corpus.values().map(Vec::len).sum::<usize>();
        let wrong: Vec<&String> = corpus
            .iter()
            .filter(|(file, bytes)| !is_as_named(target, file, bytes))
            .map(|(file, _)| file)
            .collect();
        assert!(wrong.is_empty(), "{name} answers otherwise to {wrong:?}");
        for kind in ["valid-", "invalid-"] {
            assert!(
                corpus.keys().any(|file| file.starts_with(kind)),
                "{name} has no {kind} input"
            );
        }
    }
    assert!(size <= MOST_BYTES, "the corpora have {size} bytes");
}

#[test]
fn the_seeds_are_those_that_the_generator_makes() {
    let mut made: BTreeMap<&str, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for seed in seeds() {
        let known = made
            .entry(seed.target)
            .or_default()
            .insert(seed.name.clone(), seed.bytes);
        assert!(known.is_none(), "{} has two seeds {}", seed.target, seed.name);
    }
    for (name, _) in TARGETS {
        let mut committed = corpus(name);
        committed.retain(|file, _| !file.starts_with("found-"));
        let made = made.remove(name).unwrap_or_default();
        let renew = "run `cargo run -p keyward-testkit --example make-corpora` and look at what changed";
        let names = |corpus: &BTreeMap<String, Vec<u8>>| corpus.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&committed), names(&made), "{name}: {renew}");
        for (file, bytes) in made {
            assert!(
                committed.get(&file) == Some(&bytes),
                "{name}/{file} differs: {renew}"
            );
        }
    }
    assert!(made.is_empty(), "seeds of unknown targets: {:?}", made.keys());
}

#[test]
fn every_target_has_its_program_and_every_program_its_target() {
    let programs: BTreeSet<String> = fs::read_dir(fuzz().join("fuzz_targets"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let targets = TARGETS.map(|(name, _)| name.to_owned());
    assert_eq!(programs, BTreeSet::from(targets));
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("fuzzing::{name}(")),
            "{name} runs another target"
        );
        assert!(
            manifest.contains(&format!("name = \"{name}\"\n")),
            "fuzz/Cargo.toml does not name {name}"
        );
    }
}

fn is_as_named(target: Target, file: &str, bytes: &[u8]) -> bool {
    let accepted = target(bytes);
    match file.split_once('-') {
        Some(("valid", _)) => accepted,
        Some(("invalid", _)) => !accepted,
        Some(("found" | "script", _)) => true,
        _ => false,
    }
}

fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = fuzz().join("corpus").join(target);
    let read = |entry: fs::DirEntry| {
        (
            entry.file_name().into_string().unwrap(),
            fs::read(entry.path()).unwrap(),
        )
    };
    fs::read_dir(&folder)
        .unwrap_or_else(|error| unreachable!("{}: {error}", folder.display()))
        .map(|entry| read(entry.unwrap()))
        .collect()
}

fn fuzz() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}
