//! Who decides about licenses besides the rows: authorization tokens, the webhook, a handler in Rust.

mod handlers;
mod roots;
mod tokens;
mod webhook;

use crate::common::{Device, World};
use keyward_license::{
    error_code::Problem,
    ids::Kid,
    license::{KeyType, LicenseBody},
    response::{Denial, KeyResult, LicenseResponse},
};

/// A registered key id besides the world's own.
pub(crate) const OTHER: Kid = Kid::new([0x22; 16]);

pub(crate) const BUSY: u64 = 502;
pub(crate) const NOT_ENTITLED: u64 = 301;
pub(crate) const AUTHORIZATION_REFUSED: u64 = 306;

/// A world whose operator asks these sources, with these files in its directory.
pub(crate) async fn world(sources: &str, sections: &str, files: &[(&str, &[u8])]) -> World {
    let mut world = World::new().await;
    world.server.register_key(OTHER, KeyType::File, 1).await.unwrap();
    for (name, content) in files {
        write_private(&world.dir().join(name), content);
    }
    configure(&world, sources, sections);
    world.reopen().await;
    world
}

/// Writes who is asked into `operator.toml`.
pub(crate) fn configure(world: &World, sources: &str, sections: &str) {
    let path = world.dir().join("operator.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("# sources = [\"rows\"]\n").unwrap();
    std::fs::write(&path, format!("{before}sources = {sources}\n{sections}\n{rest}")).unwrap();
}

pub(crate) fn write_private(path: &std::path::Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Asks with a token.
pub(crate) async fn ask(
    world: &World,
    device: &mut Device,
    kids: &[Kid],
    token: Option<&str>,
) -> Result<LicenseResponse, Problem> {
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, kids);
    body.authorization = token.map(str::to_owned);
    device.ask(world, &body).await
}

/// The denial of the one key id that was asked for.
pub(crate) fn denied(response: &LicenseResponse) -> Denial {
    let [result] = &response.results[..] else {
        panic!("{} results", response.results.len());
    };
    assert!(result.license.is_none());
    result.denial.clone().unwrap()
}

/// The license of a result, opened by the device.
pub(crate) fn licensed(world: &World, device: &Device, result: &KeyResult) -> LicenseBody {
    assert_eq!(result.denial, None);
    let (license, _) = device.open(world, result);
    license.body().clone()
}
