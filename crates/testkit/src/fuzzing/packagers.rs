//! The ways through the packager beside the straight one: a clear lead, and media that comes through a pipe.

use core::time::Duration;
use std::io::{Cursor, Read};

use keyward_content::cenc::Scheme;
use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use keyward_packager::{
    KeySource, MediaOptions, MemorySink, PipedMedia, ProtectedMedia, ProtectedTrack, TrackKey, TrackSelector,
    protect_media, protect_stream,
};

use super::{
    Input,
    media::{CBCS, View, decrypted, samples_of},
    world::{KEY, KID, draws},
};

/// First bytes: the scheme, and the length of the clear lead in units of ten milliseconds; then a file that is
/// protected. The samples in front of some place are clear, those behind it are not, and all are those that went in.
#[must_use]
pub fn media_lead(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let (scheme, lead) = (input.u8(), 1 + u64::from(input.u8()));
    let options = MediaOptions {
        clear_lead: Duration::from_millis(10 * lead),
        fragment_duration: Duration::from_millis(20),
        ..options(scheme)
    };
    let file = input.rest();
    let Some(made) = protected(file, &options) else {
        return false;
    };
    same_samples(file, &made, |track, kids| {
        let lead = kids.iter().take_while(|kid| kid.is_none()).count();
        let rest = kids.get(lead..).unwrap();
        match track {
            None => assert_eq!(rest, [], "a track that is protected unasked"),
            Some(track) => {
                assert!(
                    rest.iter().all(|kid| *kid == Some(track.kid)),
                    "clear behind the lead"
                );
                assert!(kids.is_empty() || !rest.is_empty(), "nothing is protected");
            }
        }
    })
}

/// First bytes: the scheme, and the most bytes that a read of the pipe gives; then a file. What is not in fragments
/// comes back; what is protected has the samples that went in, and as a file it is protected as well.
#[must_use]
pub fn media_stream(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let options = options(input.u8());
    let most = 1 + usize::from(input.u8());
    let file = input.rest();
    let pipe = Trickle { bytes: file, most };
    let stream = match PipedMedia::open(pipe).unwrap() {
        PipedMedia::Fragments(stream) => stream,
        PipedMedia::Other(mut other) => {
            let mut back = Vec::new();
            other.read_to_end(&mut back).unwrap();
            assert!(back == file, "other bytes than came");
            return false;
        }
    };
    let sink = MemorySink::default();
    let made = protect_stream(stream, sink, &options, &mut draws(30), &mut |_| {});
    let Ok(made) = made else {
        return false;
    };
    assert_eq!(made.clear_len, file.len() as u64);
    let whole = protected(file, &options).unwrap();
    assert_eq!(whole.tracks, made.tracks);
    same_samples(file, &made, |track, kids| {
        let kid = track.map(|track| track.kid);
        assert!(
            kids.iter().all(|found| *found == kid),
            "samples that are not protected"
        );
    })
}

/// Gives a few bytes at a time.
struct Trickle<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = out.len().min(self.most);
        self.bytes.read(out.get_mut(..most).unwrap())
    }
}

fn options(scheme: u8) -> MediaOptions {
    let scheme = if scheme == CBCS {
        Scheme::Cbcs
    } else {
        Scheme::Cenc
    };
    let key = TrackKey {
        tracks: TrackSelector::All,
        kid: KID,
        key: KeySource::Raw(ContentKey::new(KEY)),
    };
    MediaOptions::new(scheme, vec![key])
}

fn protected(file: &[u8], options: &MediaOptions) -> Option<ProtectedMedia<Vec<u8>>> {
    let (input, sink) = (Cursor::new(file), MemorySink::default());
    protect_media(input, sink, options, &mut draws(30), &mut |_| {}).ok()
}

/// Holds what was made against what it was made of, and lets the key ids of each track's samples be judged.
/// False if the samples of the file cannot be read, so that there is nothing to compare.
fn same_samples(
    file: &[u8],
    made: &ProtectedMedia<Vec<u8>>,
    judge: impl Fn(Option<&ProtectedTrack>, &[Option<Kid>]),
) -> bool {
    assert_eq!(made.output.len() as u64, made.protected_len);
    let Some((mut clear, _)) = decrypted(file) else {
        return false;
    };
    let (mut protected, _) = decrypted(&made.output).unwrap();
    assert_eq!(ids(&protected), ids(&clear));
    for id in ids(&clear) {
        let track = made.tracks.iter().find(|track| track.id == id);
        let (wanted, found) = (samples_of(&mut clear, id), samples_of(&mut protected, id));
        let (kids, found): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let wanted: Vec<_> = wanted.into_iter().map(|(_, bytes)| bytes).collect();
        assert!(wanted == found, "other samples of track {id}");
        assert!(track.is_none_or(|track| track.samples == found.len() as u64));
        judge(track, &kids);
    }
    true
}

fn ids(view: &View<'_>) -> Vec<u32> {
    view.media().tracks().iter().map(|track| track.id).collect()
}
