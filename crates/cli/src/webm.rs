//! WebM and Matroska: not read and not written, which is said in so many words wherever one is named.

use std::{io::Read, path::Path};

use keyward_content::media::{Matroska, WEBM_HEAD_LEN};

use crate::failure::{Failure, file_error};

/// What a file is if it is WebM or Matroska, of which `head` was read and `rest` comes behind that.
pub(crate) fn recognise(head: &[u8], rest: &mut impl Read, path: &Path) -> Result<Option<Matroska>, Failure> {
    if !Matroska::begins(head) {
        return Ok(None);
    }
    let mut head = head.to_vec();
    let more = WEBM_HEAD_LEN.saturating_sub(head.len());
    let mut rest = rest.take(u64::try_from(more).unwrap_or(u64::MAX));
    rest.read_to_end(&mut head).map_err(file_error("read", path))?;
    Ok(Matroska::of(&head))
}

/// The failure to open a file as protected content.
pub(crate) fn cannot_open(path: &Path, found: Matroska) -> Failure {
    let (file, name) = (file(path), name(found));
    let (why, hint) = match found.is_encrypted {
        Some(true) => (
            format!(
                "it is an encrypted {name} file, which names keys but no license server; protected content \
                 is MP4 here"
            ),
            "package the clear original as MP4: `ffmpeg -i ORIGINAL -c copy original.mp4`, then \
             `keyward package original.mp4`",
        ),
        Some(false) => (
            format!("it is a {name} file, and none of its tracks is protected"),
            "play it as it is, or name its protected form",
        ),
        None => (
            format!("it is a {name} file; protected content is MP4 here"),
            "play it as it is if it is clear; else package the original as MP4",
        ),
    };
    Failure::new(format!("cannot open {file}: {why}"), hint)
}

/// The failure to protect one sample by sample.
pub(crate) fn cannot_protect(path: &Path, found: Matroska) -> Failure {
    let (file, name) = (file(path), name(found));
    Failure::new(
        format!("cannot protect {file}: it is a {name} file, and samples are protected in MP4 alone"),
        format!(
            "{}, or protect it as a file with `--scheme file`",
            remux(path, found)
        ),
    )
}

/// What is said when one is protected as a file of any kind.
pub(crate) fn note(path: &Path, found: Matroska) -> String {
    let (file, name) = (file(path), name(found));
    let already = match found.is_encrypted {
        Some(true) => ", and encrypted already",
        _ => "",
    };
    format!(
        "{file} is a {name} file{already}. It is protected as a file of any kind, which players of common encryption do \
         not read. To have its samples protected, {}",
        remux(path, found)
    )
}

/// How to make an MP4 of it.
fn remux(path: &Path, found: Matroska) -> String {
    if found.is_encrypted == Some(true) {
        return "begin with the clear original: `ffmpeg -i ORIGINAL -c copy original.mp4`".to_owned();
    }
    let input = if path == Path::new("-") {
        Path::new("film.webm")
    } else {
        path
    };
    format!(
        "make an MP4 of it first, without encoding anew: `ffmpeg -i {} -c copy {}`",
        input.display(),
        input.with_extension("mp4").display()
    )
}

fn file(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

const fn name(found: Matroska) -> &'static str {
    if found.is_webm { "WebM" } else { "Matroska" }
}
