//! Licenses that travel with content: leaves for whoever has the root, and a device's own license that comes back with
//! its film.

use std::{
    fs::{self, File},
    io::{Cursor, Read},
    path::PathBuf,
};

use getrandom::SysRng;
use keyward_client::{
    ClientError,
    acquire::Wanted,
    install::{Acquired, AcquiredKey},
    session::Acquisition,
};
use keyward_content::{
    cenc::Scheme,
    embed::{self, EmbedError},
    file::LockedFile,
    media::LockedMedia,
};
use keyward_license::ids::Kid;
use keyward_packager::{
    MediaOptions, MemorySink, ProtectOptions, TrackKey, TrackSelector, protect_file, protect_media,
};
use keyward_server::{
    admin::TokenRequest,
    policy::{PolicyTerms, Preset},
};
use rand_core::UnwrapErr;

use crate::scenarios::{
    broadcast::{ROOT, Studio},
    film,
    world::{ALICE, Device, ORIGIN, World, client_error},
};

/// What kind of file content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    File,
    Media,
}

/// A protected file, with the leaves that were made for it.
struct Film {
    path: PathBuf,
    form: Form,
    kid: Kid,
    leaves: Vec<Vec<u8>>,
    clear: Vec<u8>,
}

impl Film {
    /// Packages content, with room for licenses.
    fn packaged(world: &World, content_id: &str, form: Form, room: u32) -> Self {
        let studio = Studio::new(world);
        let data = match form {
            Form::File => studio.file(content_id),
            Form::Media => studio.media(content_id),
        };
        let track = &data.tracks[0];
        let (kid, key, url) = (track.kid, track.source(), Some(ORIGIN.to_owned()));
        let rng = &mut UnwrapErr(SysRng);
        let (clear, protected) = match form {
            Form::File => {
                let clear = content_id.repeat(10_000).into_bytes();
                let options = ProtectOptions {
                    license_url: url,
                    store_len: room,
                    ..ProtectOptions::new(kid, key)
                };
                let made = protect_file(&clear[..], MemorySink::default(), &options, rng, &mut |_| {});
                (clear, made.unwrap().output)
            }
            Form::Media => {
                let clear = film::mp4(3);
                let tracks = TrackSelector::All;
                let options = MediaOptions {
                    license_url: url,
                    store_len: room,
                    ..MediaOptions::new(Scheme::Cenc, vec![TrackKey { tracks, kid, key }])
                };
                let source = Cursor::new(clear.clone());
                let made = protect_media(source, MemorySink::default(), &options, rng, &mut |_| {});
                // The samples stand together in both.
                (clear[24..40_000].to_vec(), made.unwrap().output)
            }
        };
        let path = world.home().join(content_id);
        fs::write(&path, protected).unwrap();
        let leaves = data.leaves.iter().map(|leaf| leaf.bytes().to_vec());
        Self {
            path,
            form,
            kid,
            leaves: leaves.collect(),
            clear,
        }
    }

    fn file(&self) -> File {
        let mut options = File::options();
        options.read(true).write(true).open(&self.path).unwrap()
    }

    fn embed(&self, licenses: &[Vec<u8>]) -> Result<(), EmbedError> {
        embed::embed(&mut self.file(), licenses, |file| file.sync_data()).map(drop)
    }

    /// Plays it as it is there, to its end.
    fn play(&self, device: &mut Device, acquisition: Acquisition) -> Result<Option<Acquired>, ClientError> {
        let riding = embed::read_store(&mut self.file()).unwrap();
        assert!(!riding.faulty);
        let wanted = Wanted {
            licenses: riding.licenses,
            license_url: Some(ORIGIN.into()),
            kids: vec![self.kid],
            ..Wanted::default()
        };
        let opened = client_error(device.client().open_content(vec![self.kid], wanted, acquisition))?;
        let mut seen = Vec::new();
        match self.form {
            Form::File => {
                let mut file = self.file();
                let locked = LockedFile::read_from(&mut file).unwrap();
                let mut reader = opened.unlock(*locked).unwrap().stream(file);
                reader.read_to_end(&mut seen).unwrap();
            }
            Form::Media => {
                let locked = LockedMedia::open(self.file()).unwrap();
                let mut view = locked.clear_view(opened.keys());
                view.read_to_end(&mut seen).unwrap();
            }
        }
        let is_there = seen.windows(self.clear.len()).any(|part| part == self.clear);
        assert!(is_there, "{:?} is not what it was", self.form);
        Ok(opened.acquired)
    }
}

/// Alice and bob subscribe; two films are in the subscription.
fn subscribed() -> (World, [Film; 2]) {
    let world = World::under(Preset::Subscription.terms());
    world.root(ROOT, "films", &["film 1", "film 2"]);
    world.grant(ALICE, ROOT);
    world.grant("bob", ROOT);
    let films = [("film 1", Form::File), ("film 2", Form::Media)];
    let films = films.map(|(name, form)| Film::packaged(&world, name, form, 8_000));
    for film in &films {
        film.embed(&film.leaves).unwrap();
    }
    (world, films)
}

#[test]
fn v_039_a_film_that_brings_its_leaf_plays_wherever_the_root_is() {
    let (world, films) = subscribed();
    for account in [ALICE, "bob"] {
        let mut device = world.device_of(account, TokenRequest::new(account));
        device.acquire_ahead(&[ROOT]).unwrap();
        let sent = world.network.sent.get();
        for _ in 0..2 {
            device.restart();
            for film in &films {
                assert_eq!(film.play(&mut device, Acquisition::Reactive).unwrap(), None);
            }
        }
        assert_eq!(world.network.sent.get(), sent, "a film costs no request");
        assert_eq!(
            device.client().licenses().unwrap().len(),
            1,
            "the leaves stay in the films"
        );
    }
}

#[test]
fn v_037_a_film_that_brings_its_leaf_asks_for_the_root_alone_and_needs_a_right_to_it() {
    let (world, films) = subscribed();
    let mut device = world.device("tv");
    for film in &films {
        let refused = film.play(&mut device, Acquisition::Never).unwrap_err();
        assert!(
            matches!(refused, ClientError::NoRoot { root: ROOT, .. }),
            "{refused:?}"
        );
    }
    let acquired = films[0]
        .play(&mut device, Acquisition::Reactive)
        .unwrap()
        .unwrap();
    assert!(matches!(acquired.outcomes[..], [(ROOT, AcquiredKey::Stored(_))]));
    world.network.online.set(false);
    films[1].play(&mut device, Acquisition::Never).unwrap();

    world.network.online.set(true);
    let mut stranger = world.device_of("carol", TokenRequest::new("carol"));
    for film in &films {
        let denied = film.play(&mut stranger, Acquisition::Reactive).unwrap_err();
        assert!(matches!(denied, ClientError::Denied { .. }), "{denied:?}");
    }
}

/// A film that alice has bought, by a policy that says to embed its license.
fn bought(form: Form, room: u32) -> (World, Film, Device, Acquired) {
    let world = World::under(PolicyTerms {
        embed: true,
        ..Preset::Purchase.terms()
    });
    let film = Film::packaged(&world, "bought", form, room);
    world.grant(ALICE, film.kid);
    let mut device = world.device("phone");
    device.client().host_mut().embeds = true;
    let acquired = film.play(&mut device, Acquisition::Reactive).unwrap().unwrap();
    (world, film, device, acquired)
}

fn to_embed(acquired: &Acquired) -> Vec<Vec<u8>> {
    acquired.embed.iter().map(|one| one.license.clone()).collect()
}

/// Takes the license store away and enrols anew: the device has its keys and nothing else.
fn wipe(world: &World, device: &mut Device) {
    device.stop();
    let folder = world.home().join("phone");
    for store in ["licenses.redb", "licenses.epoch"] {
        fs::remove_file(folder.join(store)).unwrap();
    }
    device.restart();
    assert_eq!(device.client().licenses().unwrap().len(), 0);
    world.enrol(device, TokenRequest::new(ALICE)).unwrap();
}

#[test]
fn r_045_a_license_that_was_embedded_survives_its_store_and_serves_no_other_device() {
    for form in [Form::File, Form::Media] {
        let (world, film, mut device, acquired) = bought(form, 8_000);
        let (before, licenses) = (fs::read(&film.path).unwrap(), to_embed(&acquired));
        assert_eq!(licenses.len(), 1);
        film.embed(&licenses).unwrap();
        // In place: nothing but the room that was reserved has changed.
        let after = fs::read(&film.path).unwrap();
        let place = embed::find_store(&mut film.file()).unwrap().unwrap();
        let (from, to) = (place.start.try_into().unwrap(), place.end.try_into().unwrap());
        assert_eq!(before.len(), after.len());
        assert!(before[..from] == after[..from] && before[to..] == after[to..]);
        assert!(before[from..to] != after[from..to]);

        wipe(&world, &mut device);
        world.network.online.set(false);
        for _ in 0..2 {
            film.play(&mut device, Acquisition::Never).unwrap();
            device.restart();
        }
        assert_eq!(
            device.client().licenses().unwrap().len(),
            1,
            "it is in the store again"
        );
        world.network.online.set(true);
        let mut other = world.device("tablet");
        let refused = film.play(&mut other, Acquisition::Never).unwrap_err();
        assert!(matches!(refused, ClientError::NoLicense { .. }), "{refused:?}");
    }
}

#[test]
fn v_028_what_its_owner_removed_does_not_come_back_with_the_film() {
    let (_world, film, mut device, acquired) = bought(Form::File, 8_000);
    film.embed(&to_embed(&acquired)).unwrap();
    assert_eq!(device.client().remove_licenses(film.kid).unwrap(), 1);
    for _ in 0..2 {
        let refused = film.play(&mut device, Acquisition::Never).unwrap_err();
        assert!(matches!(refused, ClientError::NoLicense { .. }), "{refused:?}");
        device.restart();
    }
    // A new one does.
    device.client().host_mut().embeds = true;
    let acquired = film.play(&mut device, Acquisition::Reactive).unwrap().unwrap();
    assert_eq!(acquired.outcomes.len(), 1);
}

#[test]
fn r_045_without_room_the_license_stays_in_the_store_and_the_file_as_it_is() {
    for room in [0, 200] {
        let (world, film, mut device, acquired) = bought(Form::File, room);
        let before = fs::read(&film.path).unwrap();
        let licenses = to_embed(&acquired);
        assert_eq!(licenses.len(), 1);
        let refused = film.embed(&licenses).unwrap_err();
        assert_eq!(matches!(refused, EmbedError::NoStore), room == 0, "{refused}");
        assert!(!refused.hint().is_empty());
        assert!(fs::read(&film.path).unwrap() == before);
        world.network.online.set(false);
        film.play(&mut device, Acquisition::Never).unwrap();
    }
}
