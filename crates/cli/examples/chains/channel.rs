//! A channel on the disk: the key id and the leaf of each segment.

use std::{fs, path::Path};

use keyward_license::{
    cbor_map,
    codec::{Bytes, Wire},
    ids::Kid,
};

use crate::Outcome;

cbor_map! {
    /// What rides in one segment.
    #[derive(Debug, Clone)]
    pub(crate) struct Segment = "segment" {
        /// Key id.
        [1] kid: Kid,
        /// The signed leaf license.
        [2] leaf: Bytes,
    }
}

/// Writes the channel.
pub(crate) fn write(folder: &Path, segments: &[Segment]) -> Outcome {
    Ok(fs::write(folder.join(NAME), segments.to_vec().encode())?)
}

/// Reads it.
pub(crate) fn read(folder: &Path) -> Outcome<Vec<Segment>> {
    Ok(Vec::decode(&fs::read(folder.join(NAME))?)?)
}

const NAME: &str = "channel";
