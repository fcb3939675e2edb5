//! Small inputs, read whole: messages, profiles, documents. `-` is standard input.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use keyward_license::carrier::MAX_ANSWER;

use crate::failure::{Failure, file_error};

/// All of a file, or of standard input. What is longer than any message is refused.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = file_error("read", path);
    let bytes = if path == Path::new("-") {
        within_limit(io::stdin().lock())
    } else {
        File::open(path).and_then(within_limit)
    };
    bytes.map_err(&failed)?.ok_or_else(|| {
        Failure::new(
            format!("cannot read {}: it is longer than any message", path.display()),
            "check that it is the file you mean: messages, profiles and documents are below 8 MiB",
        )
    })
}

fn within_limit(source: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(MAX_ANSWER as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() <= MAX_ANSWER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_any_message_is_not_read_to_its_end() {
        let longest = within_limit(io::repeat(0).take(MAX_ANSWER as u64)).unwrap();
        assert_eq!(longest.map(|bytes| bytes.len()), Some(MAX_ANSWER));
        assert_eq!(within_limit(io::repeat(0)).unwrap(), None);
    }
}
