//! Room for licenses in the movie box, and licenses in it.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use keyward_content::{cenc::Scheme, embed, file::LockedFile, media::LockedMedia};
use keyward_packager::{
    KeySource, MediaError, MediaOptions, MemorySink, PackagerError, ProtectOptions, TrackSelector,
    protect_file,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    read::*,
    rotation::{Periods, forms, kid, leaf, options, root_kid, rotate},
};

/// Room for licenses is filled in place: nothing but it changes.
#[test]
fn r_045_licenses_are_embedded_in_the_movie_box() {
    let embedded = |file: &mut Cursor<Vec<u8>>, license: Vec<u8>| embed::embed(file, &[license], |_| Ok(()));
    for (rotates, roots) in [(false, 0), (true, 1)] {
        let mut options = MediaOptions {
            store_len: 4000,
            ..options(Scheme::Cbcs)
        };
        let made = if rotates {
            rotate(&forms()[1], &options, &mut Periods::new(false, roots))
        } else {
            options.keys = vec![track_key(TrackSelector::All, VIDEO_KID)];
            protect(&forms()[0], &options)
        };
        let file = made.unwrap().output;
        let mut filled = Cursor::new(file.clone());
        let place = embed::find_store(&mut filled).unwrap().unwrap();
        assert_eq!(place.end - place.start, 4000);
        let own: Vec<_> = (1..=3).map(|number| leaf(kid(number, 0), root_kid(0))).collect();
        for license in &own {
            embedded(&mut filled, license.clone()).unwrap();
        }
        let again = embedded(&mut filled, own[0].clone()).unwrap();
        assert_eq!(again.licenses, [own[1].clone(), own[2].clone(), own[0].clone()]);
        let full = embedded(&mut filled, leaf(kid(4, 0), root_kid(0))).unwrap_err();
        assert!(
            full.to_string().contains("4000") && full.hint().contains("more room"),
            "{full}"
        );
        assert_eq!(embed::read_store(&mut filled).unwrap(), again);

        let filled = filled.into_inner();
        let (start, end) = (place.start as usize, place.end as usize);
        assert_eq!(
            (filled.len(), &filled[..start], &filled[end..]),
            (file.len(), &file[..start], &file[end..])
        );
        let needs = LockedMedia::open(Cursor::new(&filled))
            .unwrap()
            .needs_at(0)
            .unwrap();
        assert_eq!((needs.licenses, needs.faulty_stores), (again.licenses, 0));
    }
    let options = MediaOptions {
        store_len: 15_000,
        ..one_key(Scheme::Cenc)
    };
    let refused = protect(&forms()[0], &options).unwrap_err();
    assert!(
        matches!(
            refused,
            PackagerError::Media(MediaError::StoreRoom { room: 14_000..15_000 })
        ),
        "{refused}"
    );
    let none = protect(&forms()[0], &one_key(Scheme::Cenc)).unwrap().output;
    let mut none = Cursor::new(none);
    assert!(matches!(
        embedded(&mut none, leaf(kid(1, 0), root_kid(0))),
        Err(embed::EmbedError::NoStore)
    ));
}

/// Stops to write after so many bytes.
struct Dying<'f>(&'f mut Cursor<Vec<u8>>, usize);

impl Write for Dying<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.1);
        self.1 -= len;
        match self.0.write(&bytes[..len])? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::BrokenPipe.into()),
            written => Ok(written),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Dying<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Seek for Dying<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// Whatever is written of a store when the power goes, readers find the old licenses, or none.
#[test]
fn a_fill_that_is_cut_off_leaves_a_store() {
    let options = MediaOptions {
        store_len: 2600,
        ..one_key(Scheme::Cenc)
    };
    let mut file = Cursor::new(protect(&forms()[0], &options).unwrap().output);
    let (old, new) = (leaf(kid(1, 0), root_kid(0)), leaf(kid(2, 0), root_kid(0)));
    embed::embed(&mut file, core::slice::from_ref(&old), |_| Ok(())).unwrap();
    let written = 2 * 4 + 2600 - 4;
    for bytes in (0..=written).filter(|bytes| *bytes < 12 || bytes % 97 == 0 || *bytes > 2580) {
        let mut cut = file.clone();
        let ends = embed::embed(&mut Dying(&mut cut, bytes), core::slice::from_ref(&new), |_| {
            Ok(())
        });
        assert_eq!(ends.is_ok(), bytes == written, "{bytes}");
        let found = embed::read_store(&mut cut).unwrap();
        let both = [old.clone(), new.clone()];
        match (bytes, found.faulty) {
            (0, false) => assert_eq!(found.licenses, core::slice::from_ref(&old)),
            (_, false) => assert!(
                found.licenses == both || found.licenses == [old.clone()],
                "{bytes}"
            ),
            (_, true) => assert!(found.licenses.is_empty()),
        }
        // What was lost is put in again.
        let mended = embed::embed(&mut cut, &both, |_| Ok(())).unwrap();
        assert_eq!(mended.licenses, both);
    }
}

#[test]
fn r_045_licenses_are_embedded_in_files_of_any_kind() {
    let key = KeySource::Raw(key_of(VIDEO_KID));
    let options = ProtectOptions {
        store_len: 3000,
        ..ProtectOptions::new(VIDEO_KID, key)
    };
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let made = protect_file(
        b"the words".as_slice(),
        MemorySink::default(),
        &options,
        &mut rng,
        &mut |_| {},
    );
    let mut file = Cursor::new(made.unwrap().output);
    let license = leaf(kid(1, 0), root_kid(0));
    let held = embed::embed(&mut file, core::slice::from_ref(&license), |_| Ok(())).unwrap();
    assert_eq!(held.licenses, core::slice::from_ref(&license));
    assert_eq!(embed::read_store(&mut file).unwrap(), held);
    // What is authenticated did not change.
    let mut source = file.get_ref().as_slice();
    let locked = LockedFile::read_from(&mut source).unwrap();
    let mut words = String::new();
    let opener = locked.unlock(&key_of(VIDEO_KID)).unwrap();
    opener.stream(source).read_to_string(&mut words).unwrap();
    assert_eq!(words, "the words");
}

#[test]
fn what_is_no_protected_content_has_no_store() {
    for (bytes, words) in [
        (&b"the words are clear"[..], "the file is no protected content"),
        (b"", "the file is no protected content"),
        (b"\x89KWF\r\n\x1a\n\0\0", "the file is cut off"),
        (
            b"\0\0\0\x10moov\0\0\0\x09pssh",
            "moov at byte 8: a box states 9 bytes where there are 8",
        ),
    ] {
        let mut file = Cursor::new(bytes.to_vec());
        let error = embed::find_store(&mut file).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.hint().is_empty());
        let unwritten = embed::embed(&mut file, &[], |_| Ok(())).unwrap_err();
        assert_eq!(unwritten.to_string(), error.to_string());
        assert_eq!(file.into_inner(), bytes);
    }
}
