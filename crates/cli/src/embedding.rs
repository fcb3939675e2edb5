//! licenses that say so are written into the content that they are for.

use std::{fs::File, io, path::Path};

use keyward_client::install::{Acquired, ToEmbed};
use keyward_content::embed::{self, EmbedError};
use keyward_license::ids::{Kid, LicenseId};

use crate::{client::Asked, report::Report};

/// Writes what was acquired into the content that it was asked for. What cannot be written is said, and stays usable.
/// Returns the licenses that are embedded now.
pub(crate) fn into_all(acquired: &Acquired, asked: &[Asked], report: Report) -> Vec<LicenseId> {
    let mut embedded = Vec::new();
    for license in &acquired.embed {
        let named = asked
            .iter()
            .filter_map(|asked| asked.file.as_deref().map(|file| (file, asked)));
        let mut files = named
            .filter(|(_, asked)| asked.kids.contains(&license.kid))
            .map(|(file, _)| file)
            .peekable();
        if files.peek().is_none() {
            report.note(&format!(
                "license {} is to be embedded in the content of key {}: `keyward licenses embed FILE`",
                license.id, license.kid
            ));
        }
        // Into every one, not only the first that has room.
        if files.filter(|file| into(file, license, report)).count() > 0 {
            embedded.push(license.id);
        }
    }
    embedded
}

/// The same of content that needs these keys.
pub(crate) fn into_content(acquired: &Acquired, file: &Path, kids: &[Kid], report: Report) {
    let for_it = acquired
        .embed
        .iter()
        .filter(|license| kids.contains(&license.kid));
    for license in for_it {
        into(file, license, report);
    }
}

/// Writes one license, and says what came of it.
pub(crate) fn into(file: &Path, license: &ToEmbed, report: Report) -> bool {
    let id = license.id;
    match write(file, &license.license) {
        Ok(()) => report.note(&format!("license {id} is embedded in {}", file.display())),
        Err(error) => {
            report.note(&format!(
                "license {id} is not embedded in {}: {error} ({})",
                file.display(),
                error.hint()
            ));
            return false;
        }
    }
    true
}

fn write(path: &Path, license: &[u8]) -> Result<(), EmbedError> {
    let mut file = File::options().read(true).write(true).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file, but a device or a pipe").into());
    }
    embed::embed(&mut file, &[license.to_vec()], |file| file.sync_data()).map(drop)
}
