//! Writes `vectors/*.json` and the commented hex in `spec/*.md` anew.
#![expect(clippy::unwrap_used, reason = "a failure in the test kit is a failed test")]

use std::{fs, path::Path};

use keyward_testkit::vectors::{all, renew_examples};

fn main() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = top.join("vectors");
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            fs::remove_file(path).unwrap();
        }
    }
    for vector in all() {
        fs::write(folder.join(format!("{}.json", vector.name)), vector.to_json()).unwrap();
    }
    for page in ["overview.md", "protocol.md", "license.md"] {
        let path = top.join("spec").join(page);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, renew_examples(&text)).unwrap();
    }
}
