//! Key exchange from end to end: the guide as it stands, commands in real processes, and the server, its database and
//! clients under a virtual clock.

mod carried;
mod commands;
mod guide;
#[cfg(target_os = "linux")]
mod large;
mod peer;
mod scenario;
mod secrets;
mod versions;

use crate::world::World;

/// A world whose license server runs, and a device of alice's that is enrolled and may have all content.
pub(crate) fn enrolled() -> (World, crate::world::Server) {
    let world = World::new();
    let server = world.serve();
    world.enrol("device", "alice");
    (world, server)
}

/// Makes an exchange key that alice may have.
pub(crate) fn create(world: &World, algorithm: &str, operation: &str, more: &[&str]) -> String {
    let of = ["--algorithm", algorithm, "--operation", operation];
    let make = [&["admin", "key-exchange", "create", "key"][..], &of, more].concat();
    let kid = world.ok(&make).trim().to_owned();
    assert_eq!(kid.len(), 32, "{kid}");
    world.ok(&["admin", "grant", "--account", "alice", "--kid", &kid]);
    kid
}

/// What a device does with an exchange key.
pub(crate) fn device<'a>(operation: &'a str, kid: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["key-exchange", operation, kid][..], more].concat()
}

/// What the operator does with it.
pub(crate) fn operator<'a>(operation: &'a str, kid: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["admin", "key-exchange", operation, kid][..], more].concat()
}
