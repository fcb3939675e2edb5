//! Roots and leaves for tests: key ids, licenses of them, and content that is opened under them.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    held::HeldLicense,
    install::Acquired,
    session::{Acquisition, Needs, Opened},
};
use keyward_crypto::RootKey;
use keyward_license::{
    ids::{Kid, LicenseId},
    license::{LicenseBody, LicenseKind},
};

use crate::{
    licensed::asking,
    world::{TestClient, World, kid, opens, wanted},
};

/// Key ids of roots.
pub(crate) const ROOT: u8 = 200;
pub(crate) const OTHER_ROOT: u8 = 201;

/// An enrolled device, and a server that has two roots.
pub(crate) fn rooted() -> (World, TestClient) {
    let (mut world, client) = World::enrolled();
    for number in [ROOT, OTHER_ROOT] {
        let key = RootKey::from_slice(&[number; 32]).unwrap();
        world.server.roots.insert(kid(number), key);
    }
    (world, client.on_host(asking()))
}

/// A device that has a root license, edited like this.
pub(crate) fn with_root(edit: impl Fn(&mut LicenseBody) + 'static) -> (World, TestClient) {
    let (mut world, mut client) = rooted();
    acquire_root(&mut world, &mut client, ROOT, edit);
    (world, client)
}

/// Acquires a license of a root, edited like this.
pub(crate) fn acquire_root(
    world: &mut World,
    client: &mut TestClient,
    root: u8,
    edit: impl Fn(&mut LicenseBody) + 'static,
) -> LicenseId {
    world.server.bent.license = Some(Box::new(move |body| {
        if body.kind == LicenseKind::Root {
            edit(body);
        }
    }));
    let acquired = acquire(world, client, &[root]);
    world.server.bent.license = None;
    license_of(&acquired, kid(root))
}

/// Acquires leaves of these keys under a root.
pub(crate) fn acquire_leaves(world: &mut World, client: &mut TestClient, keys: &[u8], root: u8) -> Acquired {
    for number in keys {
        world.server.leaves.insert(kid(*number), kid(root));
    }
    let acquired = acquire(world, client, keys);
    for number in keys {
        world.server.leaves.remove(&kid(*number));
    }
    acquired
}

pub(crate) fn acquire(world: &mut World, client: &mut TestClient, keys: &[u8]) -> Acquired {
    let acquired = world.run(client.acquire(wanted(keys))).unwrap();
    world.trace.clear();
    acquired
}

/// The license of a key id in an answer.
pub(crate) fn license_of(acquired: &Acquired, of: Kid) -> LicenseId {
    use keyward_client::install::AcquiredKey::{InMemory, Stored};
    let found = acquired.outcomes.iter().find(|(kid, _)| *kid == of);
    match found {
        Some((_, Stored(id) | InMemory(id))) => *id,
        _ => panic!("{acquired:?}"),
    }
}

/// Opens content under one key with what there is, and checks that the key is its.
pub(crate) fn open(world: &mut World, client: &mut TestClient, number: u8) -> Result<Opened, ClientError> {
    open_with(world, client, number, &[])
}

/// The same, where licenses ride in the content.
pub(crate) fn open_with(
    world: &mut World,
    client: &mut TestClient,
    number: u8,
    licenses: &[Vec<u8>],
) -> Result<Opened, ClientError> {
    let wanted = Wanted {
        licenses: licenses.to_vec(),
        ..wanted(&[number])
    };
    let opened = world.run(client.open_content(vec![kid(number)], wanted, Acquisition::Never))?;
    assert!(opens(&opened.bound[0], number));
    Ok(opened)
}

/// Content that names no keys of its own, of which everything is reached.
pub(crate) fn open_live(
    world: &mut World,
    client: &mut TestClient,
    wanted: Wanted,
    acquisition: Acquisition,
) -> Opened {
    world
        .run(client.open_content(Vec::new(), wanted, acquisition))
        .unwrap()
}

/// What a place needs: one key, with the licenses that ride there.
pub(crate) fn needs(number: u8, licenses: &[Vec<u8>]) -> Needs {
    Needs {
        kids: vec![kid(number)],
        licenses: licenses.to_vec(),
        ..Needs::default()
    }
}

/// Everything held of a key id.
pub(crate) fn held(world: &mut World, client: &TestClient, number: u8) -> Vec<HeldLicense> {
    let mut held = world.run(client.held_licenses()).unwrap();
    held.retain(|held| held.body.asked_kid() == Ok(kid(number)));
    held
}

/// The key ids that the server was asked for, request by request, from one on.
pub(crate) fn asked(world: &World, from: usize) -> Vec<Vec<Kid>> {
    let requests = world.server.requests[from..].iter();
    requests
        .map(|request| request.kids.clone().unwrap_or_default())
        .collect()
}
