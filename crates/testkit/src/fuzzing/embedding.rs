//! Licenses that are put into content.

use std::io::Cursor;

use keyward_content::embed::{self, EmbedError};

use super::world::WORLD;

/// Content that somebody hands over to have a license put into it: nothing changes but the room for licenses, which
/// then has this one last.
#[must_use]
pub fn content_embed(bytes: &[u8]) -> bool {
    let mut file = Cursor::new(bytes.to_vec());
    let (place, leaf) = (embed::find_store(&mut file), WORLD.leaf());
    let done = embed::embed(&mut file, core::slice::from_ref(&leaf), |_| Ok(()));
    let after = embed::read_store(&mut file);
    let file = file.into_inner();
    assert_eq!(file.len(), bytes.len());
    let (Ok(Some(place)), Ok(done)) = (&place, &done) else {
        assert!(file == bytes, "a refusal leaves the file as it was");
        assert!(!matches!(place, Ok(None)) || matches!(done, Err(EmbedError::NoStore)));
        return false;
    };
    let [start, end] = [place.start, place.end].map(|at| usize::try_from(at).unwrap());
    assert_eq!(
        (file.get(..start), file.get(end..)),
        (bytes.get(..start), bytes.get(end..))
    );
    assert_eq!(done.licenses.last(), Some(&leaf));
    let after = after.unwrap();
    assert!(after.licenses == done.licenses && !after.faulty);
    true
}
