//! Writes the seeds of the fuzz targets into `fuzz/corpus`. Inputs of other names, which a fuzzer found,
//! stay where they are.

use std::{fs, io, path::Path};

use keyward_testkit::fuzzing::seeds;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for seed in seeds() {
        let folder = corpus.join(seed.target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(&seed.name), &seed.bytes)?;
    }
    Ok(())
}
