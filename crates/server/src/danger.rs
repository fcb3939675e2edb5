//! Acts that hand out secrets. Each says what an attacker gains.

use keyward_crypto::SecretBytes;

use crate::{Error, Server};

/// The bytes of a license key seed, to share with a packager.
///
/// **The attack:** whoever has a seed can compute the content key of every key id registered under it,
/// past and future, without a license and without a trace. It cannot be taken back: what was packaged
/// under the seed stays open to them. Share a seed only with a packager that is guarded like this
/// server, over a channel that is; use
/// [`Server::content_key_for_packaging`](crate::Server::content_key_for_packaging) where single keys
/// are enough.
///
/// The export stands in the database, as an event `seed-exported` with the seed's number, before the seed
/// is returned.
///
/// # Errors
/// [`Error::SeedUnknown`], or a failure of the database.
pub async fn export_seed(server: &Server, number: u64) -> Result<SecretBytes, Error> {
    let seed = server.vault().open_seed(server.store(), number).await?;
    let now = server.inner().clock.now();
    server
        .store()
        .record_act("seed-exported", number.to_string(), now)
        .await?;
    tracing::warn!(seed = number, "license key seed exported");
    Ok(seed)
}
