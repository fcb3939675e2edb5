//! Steps 1 to 3: key, encryption, the way to the user.

use std::{
    fs::File,
    io::Seek,
    path::{Path, PathBuf},
};

use getrandom::SysRng;
use keyward_content::{
    cenc::Scheme,
    isobmff::Handler,
    media::{LockedMedia, begins_like_mp4},
};
use keyward_license::{ids::Kid, license::KeyType};
use keyward_packager::{
    KeySource, MediaOptions, PackagerError, ProtectOptions, TrackKey, TrackKind, TrackSelector, protect_file,
    protect_media,
};
use rand_core::UnwrapErr;

use super::{Place, Story, bytes, clock, millis};
use crate::{
    failure::{Failure, file_error},
    operator::{Operator, Serving},
    output::FileSink,
    protected::{Protected, beginning},
};

/// What was protected, where it is, and how.
pub(super) struct ProtectedFile {
    pub(super) path: PathBuf,
    pub(super) form: Form,
    pub(super) kids: Vec<Kid>,
    pub(super) clear_len: u64,
    pub(super) protected_len: u64,
}

/// How a file was protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a whole.
    File,
    /// Sample by sample.
    Media,
}

/// Steps 1 to 3.
pub(super) fn protect(
    place: &Place,
    input: &Path,
    operator: &Operator,
    serving: &Serving,
    story: Story,
) -> Result<ProtectedFile, Failure> {
    let work = Work {
        place,
        input,
        operator,
        license_url: &serving.url,
        story,
    };
    let kinds = kinds(input)?;
    let made = match kinds.is_empty() {
        true => None,
        false => work.as_media(&kinds)?,
    };
    let made = made.map_or_else(|| work.as_file(), Ok)?;
    let travelled = made.path.with_file_name(match made.form {
        Form::File => "received.kw",
        Form::Media => "received.mp4",
    });
    std::fs::copy(&made.path, &travelled).map_err(file_error("copy", &made.path))?;
    story.step(
        3,
        "The protected file travels to the user (here it is copied; any way will do).",
    );
    Ok(ProtectedFile {
        path: travelled,
        ..made
    })
}

/// The kinds of tracks of an MP4; none of any other file.
fn kinds(input: &Path) -> Result<Vec<TrackKind>, Failure> {
    let failed = file_error("read", input);
    let mut file = File::open(input).map_err(&failed)?;
    let head = beginning(&mut file).map_err(&failed)?;
    file.rewind().map_err(&failed)?;
    if !begins_like_mp4(&head) {
        return Ok(Vec::new());
    }
    let Ok(media) = LockedMedia::open(file) else {
        return Ok(Vec::new());
    };
    let there = |handler| media.tracks().iter().any(|track| track.handler == handler);
    let video = there(Handler::Video).then_some(TrackKind::Video);
    let audio = there(Handler::Audio).then_some(TrackKind::Audio);
    Ok(video.into_iter().chain(audio).collect())
}

struct Work<'a> {
    place: &'a Place,
    input: &'a Path,
    operator: &'a Operator,
    license_url: &'a str,
    story: Story,
}

impl Work<'_> {
    /// Steps 1 and 2 for an MP4, each kind of track under a key of its own. Nothing if it is one that
    /// cannot be protected sample by sample.
    fn as_media(&self, kinds: &[TrackKind]) -> Result<Option<ProtectedFile>, Failure> {
        let mut rng = UnwrapErr(SysRng);
        let scheme = Scheme::Cenc;
        let mut keys = Vec::new();
        for kind in kinds {
            let kid = Kid::random(&mut rng);
            let key = self.operator.derived_key(kid, scheme.key_type(), None)?;
            keys.push(TrackKey {
                tracks: TrackSelector::Kind(*kind),
                kid,
                key: KeySource::Vault(key),
            });
        }
        let kids: Vec<_> = keys.iter().map(|key| key.kid).collect();
        let options = MediaOptions {
            license_url: Some(self.license_url.to_owned()),
            ..MediaOptions::new(scheme, keys)
        };

        let started = clock();
        let path = self.place.path("protected.mp4");
        let sink = FileSink::create(&path, false)?;
        let bar = self.story.report.progress(Some(self.len()?));
        let made = protect_media(self.open()?, sink, &options, &mut rng, &mut |done| {
            bar.set_position(done)
        });
        let took = millis(started);
        bar.finish_and_clear();
        let made = match made {
            Err(PackagerError::Media(reason)) => {
                let words = format!("        It is protected as a file, not as a film: {reason}.");
                self.story.say(&words);
                return Ok(None);
            }
            made => made?,
        };
        self.tell_keys(&kids);
        let made = ProtectedFile {
            path,
            form: Form::Media,
            kids,
            clear_len: made.clear_len,
            protected_len: made.protected_len,
        };
        self.tell_encryption(&made, &took, "sample by sample ")?;
        Ok(Some(made))
    }

    /// Steps 1 and 2 for a file of any kind.
    fn as_file(&self) -> Result<ProtectedFile, Failure> {
        let mut rng = UnwrapErr(SysRng);
        let kid = Kid::random(&mut rng);
        let key = self.operator.derived_key(kid, KeyType::File, None)?;
        self.tell_keys(&[kid]);

        let started = clock();
        let path = self.place.path("protected.kw");
        let mut options = ProtectOptions::new(kid, KeySource::Vault(key));
        options.license_url = Some(self.license_url.to_owned());
        options.name = self
            .input
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let bar = self.story.report.progress(Some(self.len()?));
        let sink = FileSink::create(&path, false)?;
        let made = protect_file(self.open()?, sink, &options, &mut rng, &mut |done| {
            bar.set_position(done)
        })?;
        let took = millis(started);
        bar.finish_and_clear();
        let made = ProtectedFile {
            path,
            form: Form::File,
            kids: vec![kid],
            clear_len: made.plain_len,
            protected_len: made.sealed_len,
        };
        self.tell_encryption(&made, &took, "")?;
        Ok(made)
    }

    fn open(&self) -> Result<File, Failure> {
        File::open(self.input).map_err(file_error("open", self.input))
    }

    fn len(&self) -> Result<u64, Failure> {
        let metadata = self.open()?.metadata();
        Ok(metadata.map_err(file_error("read", self.input))?.len())
    }

    fn tell_keys(&self, kids: &[Kid]) {
        let named: Vec<_> = kids.iter().map(ToString::to_string).collect();
        let words = match named.as_slice() {
            [one] => format!("The content key for key id {one} is derived from license key seed 1."),
            _ => format!(
                "The content keys for key ids {}\nare derived from license key seed 1.",
                named.join(", ")
            ),
        };
        self.story.step(1, &words);
    }

    fn tell_encryption(&self, made: &ProtectedFile, took: &str, how: &str) -> Result<(), Failure> {
        let header = Protected::open(&made.path)?.content().header.unwrap_or_default();
        let named = if made.kids.len() > 1 { "key ids" } else { "key id" };
        self.story.step(
            2,
            &format!(
                "A content header of {} bytes names the {named} and the license server; {} are encrypted\n\
                 {how}in {took} into {}.",
                header.len(),
                bytes(made.clear_len),
                bytes(made.protected_len),
            ),
        );
        Ok(())
    }
}
