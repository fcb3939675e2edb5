//! Making the vectors and the worked examples of the spec anew changes nothing.

use std::{collections::BTreeMap, fs, path::Path};

use keyward_testkit::vectors::{Verdict, all, examples, renew_examples};

const RENEW: &str = "run `cargo run -p keyward-testkit --example make-vectors`";

fn top() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn vectors_are_current() {
    let made: BTreeMap<_, _> = all()
        .into_iter()
        .map(|vector| (format!("{}.json", vector.name), vector.to_json()))
        .collect();
    let mut on_disk = BTreeMap::new();
    for entry in fs::read_dir(top().join("vectors")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            on_disk.insert(name, fs::read_to_string(path).unwrap());
        }
    }
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        on_disk.keys().collect::<Vec<_>>(),
        "{RENEW}"
    );
    for (name, text) in made {
        assert!(on_disk[&name] == text, "{name} differs: {RENEW}");
    }
}

#[test]
fn names_are_unique_and_most_cases_are_invalid() {
    let vectors = all();
    let names: BTreeMap<_, _> = vectors.iter().map(|vector| (&vector.name, ())).collect();
    assert_eq!(names.len(), vectors.len());
    let invalid = vectors
        .iter()
        .filter(|vector| vector.verdict == Verdict::Invalid)
        .count();
    assert!(
        2 * invalid >= vectors.len(),
        "{invalid} of {} are invalid",
        vectors.len()
    );
}

#[test]
fn worked_examples_are_current() {
    let mut shown = String::new();
    for page in ["overview.md", "protocol.md", "license.md"] {
        let text = fs::read_to_string(top().join("spec").join(page)).unwrap();
        assert!(renew_examples(&text) == text, "{page} differs: {RENEW}");
        shown.push_str(&text);
    }
    for (name, _) in examples() {
        assert!(
            shown.contains(&format!("```hex {name}\n")),
            "no page of the spec shows the example {name}"
        );
    }
}
