//! `docs/threat-model.md` names the proof for every attack; this holds the names against the tree.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use keyward_testkit::fuzzing::TARGETS;

#[test]
fn every_proof_in_the_threat_model_exists() {
    let text = fs::read_to_string(top().join("docs/threat-model.md")).unwrap();
    let proofs: Vec<(&str, &str)> = text.split('`').filter_map(|span| span.split_once(": ")).collect();
    let proofs: Vec<_> = proofs.into_iter().filter(|(_, name)| is_name(name)).collect();
    assert!(proofs.len() > 100, "only {} proofs are named", proofs.len());
    let missing: BTreeSet<String> = proofs
        .into_iter()
        .filter(|(place, name)| !exists(place, name))
        .map(|(place, name)| format!("{place}: {name}"))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

fn exists(place: &str, name: &str) -> bool {
    match place {
        "vector" => top().join("vectors").join(format!("{name}.json")).is_file(),
        "fuzz" => TARGETS.iter().any(|(target, _)| *target == name),
        _ => has_test(&top().join("crates").join(place), name),
    }
}

/// Whether a source below `folder` has this function, with a test attribute before it.
fn has_test(folder: &Path, name: &str) -> bool {
    let entries = fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().path()));
    entries.into_iter().flatten().any(|path| {
        if path.is_dir() {
            return has_test(&path, name);
        }
        path.extension().is_some_and(|extension| extension == "rs") && {
            let text = fs::read_to_string(&path).unwrap();
            let before = text.split_once(&format!("fn {name}("));
            before.is_some_and(|(before, _)| before.lines().rev().take(12).any(is_test_attribute))
        }
    })
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("#[test") || line.starts_with("#[tokio::test") || line.starts_with("proptest!")
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
