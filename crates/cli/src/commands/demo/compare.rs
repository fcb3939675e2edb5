//! Whether what was played is what was protected.

use std::{
    fs::File,
    io::{self, BufRead},
    path::Path,
};

use keyward_content::media::{ClearView, danger::RawKeys};

use super::{Form, Story, wrong};
use crate::failure::{Failure, file_error};

/// Compares the outputs with the input: a file byte for byte, a film sample by sample, since the packager
/// may have put its samples into fragments.
pub(super) fn compare(form: Form, input: &Path, outputs: &[&Path], story: Story) -> Result<(), Failure> {
    for output in outputs {
        let same = match form {
            Form::File => equal(input, output)?,
            Form::Media => equal_samples(input, output)?,
        };
        if !same {
            return Err(wrong(&format!("{} differs from the original", output.display())));
        }
    }
    story.say(match form {
        Form::File => {
            "        Both playbacks were compared with the original, byte for byte: nothing differs."
        }
        Form::Media => {
            "        Both playbacks were compared with the original, all tracks, sample by sample: nothing differs."
        }
    });
    Ok(())
}

fn equal(left: &Path, right: &Path) -> Result<bool, Failure> {
    let open = |path: &Path| {
        File::open(path)
            .map(io::BufReader::new)
            .map_err(file_error("open", path))
    };
    let (mut left_bytes, mut right_bytes) = (open(left)?, open(right)?);
    loop {
        let (ours, theirs) = (
            left_bytes.fill_buf().map_err(file_error("read", left))?,
            right_bytes.fill_buf().map_err(file_error("read", right))?,
        );
        let common = ours.len().min(theirs.len());
        if common == 0 {
            return Ok(ours.is_empty() && theirs.is_empty());
        }
        if ours.get(..common) != theirs.get(..common) {
            return Ok(false);
        }
        left_bytes.consume(common);
        right_bytes.consume(common);
    }
}

/// Whether two films have the same tracks, and these the same samples. Neither is protected.
fn equal_samples(left: &Path, right: &Path) -> Result<bool, Failure> {
    let (mut left, mut right) = (Film::open(left)?, Film::open(right)?);
    let tracks = left.tracks();
    if right.tracks() != tracks {
        return Ok(false);
    }
    for track in tracks {
        left.begin(track)?;
        right.begin(track)?;
        loop {
            let samples = (left.next()?, right.next()?);
            if samples.0 != samples.1 {
                return Ok(false);
            }
            if samples.0.is_none() {
                break;
            }
        }
    }
    Ok(true)
}

/// The samples of a clear MP4.
struct Film<'p> {
    path: &'p Path,
    view: ClearView<File, RawKeys>,
    samples: Option<keyward_content::media::SampleCursor>,
    sample: Vec<u8>,
}

impl<'p> Film<'p> {
    fn open(path: &'p Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(file_error("open", path))?;
        let view = ClearView::open(file, RawKeys::new())
            .map_err(|error| Failure::from(&error).context(format!("cannot read {}", path.display())))?;
        if view.media().is_protected() {
            return Err(wrong(&format!("{} is still protected", path.display())));
        }
        Ok(Self {
            path,
            view,
            samples: None,
            sample: Vec::new(),
        })
    }

    fn tracks(&self) -> Vec<u32> {
        let media = self.view.media();
        let here = media.tracks().iter().filter(|track| track.self_contained);
        here.map(|track| track.id).collect()
    }

    fn begin(&mut self, track: u32) -> Result<(), Failure> {
        self.samples = Some(
            self.view
                .media()
                .samples(track)
                .map_err(|error| self.failed(&error))?,
        );
        Ok(())
    }

    /// The next sample of the track; nothing at its end.
    fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        let Some(cursor) = &mut self.samples else {
            return Ok(None);
        };
        let found = self.view.next_sample(cursor);
        let Some(span) = found.map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        let read = self.view.read_sample(&span, &mut self.sample);
        read.map_err(|error| self.failed(&error))?;
        Ok(Some(&self.sample))
    }

    fn failed(&self, error: &keyward_content::media::MediaError) -> Failure {
        Failure::from(error).context(format!("cannot read {}", self.path.display()))
    }
}
