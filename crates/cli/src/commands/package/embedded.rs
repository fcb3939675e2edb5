//! Room for licenses in what is packaged, and the leaf licenses that go there.

use std::{fs::File, path::Path};

use keyward_content::embed;
use keyward_license::embedded::EmbeddedStore;

use crate::{
    args::PackageArgs,
    failure::{Failure, file_error},
    output::FileSink,
    report::Report,
};

/// What the embedded license store is to hold when the file is there.
pub(super) struct Embedded {
    leaves: Vec<Vec<u8>>,
    /// Bytes of the store.
    pub(super) reserve: u32,
}

impl Embedded {
    /// Leaf licenses are written when the file is there, so there has to be one.
    pub(super) fn fits(args: &PackageArgs, sink: &FileSink) -> Result<(), Failure> {
        match args.leaves && !sink.is_file() {
            true => Err(Failure::new(
                "leaf licenses are embedded in a file, not in a pipe or a device",
                "name a file: `-o FILE`",
            )),
            false => Ok(()),
        }
    }

    /// Plans the store for these leaf licenses. One that has no room for them is refused before anything is encrypted.
    pub(super) fn plan(args: &PackageArgs, leaves: Vec<Vec<u8>>, report: Report) -> Result<Self, Failure> {
        if args.leaves && leaves.is_empty() {
            report.note(
                "the content is under no root, so there are no leaf licenses to embed: see `keyward admin root put`",
            );
        }
        let needed = room_for(&leaves)?;
        let reserve = match args.reserve {
            0 => needed,
            given if given < needed => {
                return Err(Failure::new(
                    format!("its leaf licenses need {needed} bytes, and {given} are to be reserved"),
                    format!("reserve more (`--reserve {needed}`), or leave `--reserve` out"),
                ));
            }
            given => given,
        };
        Ok(Self { leaves, reserve })
    }

    /// Writes the licenses into the file that was made.
    pub(super) fn write(&self, output: &Path) -> Result<u64, Failure> {
        if self.leaves.is_empty() {
            return Ok(0);
        }
        let file = File::options().read(true).write(true).open(output);
        self.write_into(&mut file.map_err(file_error("write", output))?, output)
    }

    /// Writes the licenses into a file that is not visible yet, and will be `output`.
    pub(super) fn put(&self, sink: &mut FileSink, output: &Path) -> Result<u64, Failure> {
        match sink.file_mut().filter(|_| !self.leaves.is_empty()) {
            Some(file) => self.write_into(file, output),
            None => Ok(0),
        }
    }

    fn write_into(&self, file: &mut File, output: &Path) -> Result<u64, Failure> {
        embed::embed(file, &self.leaves, |file| file.sync_data())
            .map_err(|error| Failure::new(&error, error.hint()).context(output.display()))?;
        Ok(u64::try_from(self.leaves.len()).unwrap_or(u64::MAX))
    }
}

/// So many leaf licenses, for people.
pub(super) fn leaf_licenses(count: u64) -> String {
    match count {
        1 => "1 leaf license".to_owned(),
        many => format!("{many} leaf licenses"),
    }
}

/// Bytes of a store that holds these licenses and nothing else.
fn room_for(leaves: &[Vec<u8>]) -> Result<u32, Failure> {
    if leaves.is_empty() {
        return Ok(0);
    }
    let mut store = EmbeddedStore::default();
    for leaf in leaves {
        store.put(leaf).map_err(|refused| {
            Failure::new(
                format!("the leaf licenses cannot be embedded: {refused}"),
                "put the content under fewer roots, or give it one key",
            )
        })?;
    }
    let bytes: usize = leaves.iter().map(Vec::len).sum();
    // Each has a head of at most 5 bytes, as has the list; before it stands its length.
    let heads = leaves.len().saturating_add(2).saturating_mul(5);
    Ok(u32::try_from(bytes.saturating_add(heads)).unwrap_or(u32::MAX))
}
