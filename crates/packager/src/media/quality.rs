//! What quality a track has: content in several qualities has a key for each, so that a device gets those that its
//! security level permits.

use std::io::{Read, Seek};

use keyward_content::isobmff::{Movie, Track};

use super::{
    probe::{self, Layout},
    source::Source,
    stream::MediaStream,
    tracks::TrackKind,
};
use crate::{MediaError, PackagerError};

/// A class of quality, from that of least worth up.
///
/// | class | longer side | shorter side |
/// | --- | --- | --- |
/// | SD | 1024 | 576 |
/// | HD | 2048 | 1080 |
/// | UHD1 | 4096 | 2160 |
///
/// A picture is of the first class that holds both of its sides, whichever is its height: black bars that were cut
/// off make no HD picture an SD one. UHD2 is what is larger. Bounds are in pixels, as sample entries state them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Sound.
    Audio,
    /// Pictures of up to 576 lines.
    Sd,
    /// Of up to 1080 lines.
    Hd,
    /// Of up to 2160 lines.
    Uhd1,
    /// Of more.
    Uhd2,
}

impl Quality {
    /// All classes, in their order.
    pub const ALL: [Self; 5] = [Self::Audio, Self::Sd, Self::Hd, Self::Uhd1, Self::Uhd2];

    /// The class of a picture.
    #[must_use]
    pub fn of_picture(width: u16, height: u16) -> Self {
        const BOUNDS: [(Quality, u16, u16); 3] = [
            (Quality::Sd, 1024, 576),
            (Quality::Hd, 2048, 1080),
            (Quality::Uhd1, 4096, 2160),
        ];
        let (longer, shorter) = (width.max(height), width.min(height));
        BOUNDS
            .into_iter()
            .find(|(_, long, short)| longer <= *long && shorter <= *short)
            .map_or(Self::Uhd2, |(class, ..)| class)
    }

    /// Its name, and the label of its key: `AUDIO`, `SD`, `HD`, `UHD1`, `UHD2`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Audio => "AUDIO",
            Self::Sd => "SD",
            Self::Hd => "HD",
            Self::Uhd1 => "UHD1",
            Self::Uhd2 => "UHD2",
        }
    }

    /// The highest of a track's sample entries.
    fn of(track: &Track<'_>, kind: TrackKind) -> Result<Self, MediaError> {
        if kind == TrackKind::Audio {
            return Ok(Self::Audio);
        }
        let mut highest = None;
        for entry in &track.entries {
            match entry.picture_size()? {
                Some((width, height)) if width > 0 && height > 0 => {
                    highest = highest.max(Some(Self::of_picture(width, height)));
                }
                _ => return Err(MediaError::NoPictureSize(track.id)),
            }
        }
        highest.ok_or(MediaError::NoPictureSize(track.id))
    }
}

/// A track that would be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QualityTrack {
    /// The track id.
    pub id: u32,
    /// The quality of what it holds.
    pub quality: Quality,
}

/// The tracks of an MP4 that would be protected, in the order of the file.
///
/// # Errors
/// [`PackagerError`] for media that cannot be protected, as [`protect_media`](super::protect_media) has it, and
/// for pictures without a size.
pub fn qualities(input: impl Read + Seek) -> Result<Vec<QualityTrack>, PackagerError> {
    let mut source = Source::new(input).map_err(PackagerError::Read)?;
    of_layout(&Layout::scan(&mut source)?)
}

impl<R> MediaStream<R> {
    /// The same of what comes through a pipe.
    ///
    /// # Errors
    /// As [`qualities`].
    pub fn qualities(&self) -> Result<Vec<QualityTrack>, PackagerError> {
        of_layout(&self.layout)
    }
}

fn of_layout(layout: &Layout) -> Result<Vec<QualityTrack>, PackagerError> {
    let movie = Movie::parse(&layout.movie_span()?)?;
    probe::check(&movie, layout)?;
    let tracks = movie.tracks.iter().filter_map(|track| {
        let kind = TrackKind::of(track.handler)?;
        Some(Quality::of(track, kind).map(|quality| QualityTrack {
            id: track.id,
            quality,
        }))
    });
    Ok(tracks.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_first_class_that_holds_both_of_its_sides() {
        for (width, height, class) in [
            (426, 240, Quality::Sd),
            (768, 576, Quality::Sd),
            (1024, 576, Quality::Sd),
            (1024, 577, Quality::Hd),
            (1026, 432, Quality::Hd),
            (1280, 544, Quality::Hd),
            (1280, 720, Quality::Hd),
            (1920, 1080, Quality::Hd),
            (1080, 1920, Quality::Hd),
            (2048, 1080, Quality::Hd),
            (1920, 1088, Quality::Uhd1),
            (2560, 1080, Quality::Uhd1),
            (3840, 1600, Quality::Uhd1),
            (3840, 2160, Quality::Uhd1),
            (4096, 2160, Quality::Uhd1),
            (4096, 2161, Quality::Uhd2),
            (4098, 1716, Quality::Uhd2),
            (7680, 4320, Quality::Uhd2),
            (u16::MAX, u16::MAX, Quality::Uhd2),
            (1, 1, Quality::Sd),
        ] {
            assert_eq!(Quality::of_picture(width, height), class, "{width}x{height}");
        }
    }

    #[test]
    fn classes_are_in_order_and_have_names_of_their_own() {
        assert!(Quality::ALL.is_sorted());
        let labels: std::collections::BTreeSet<_> = Quality::ALL.map(Quality::label).into();
        assert_eq!(labels.len(), Quality::ALL.len());
    }
}
