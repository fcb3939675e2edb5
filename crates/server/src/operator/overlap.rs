//! What is accepted of before a roll, until when, and that it is gone afterwards.

use std::collections::BTreeMap;

use keyward_license::time::Timestamp;

use super::{identity::Settings, keys};
use crate::{
    Error,
    store::{OperatorCertificate, Purpose, Store},
};

/// Until when requests to a certificate are accepted: until it ends, and if its key was rolled, until the overlap is
/// over.
pub(crate) fn accepted_until(
    certificates: &[OperatorCertificate],
    stored: &OperatorCertificate,
    overlap: u64,
) -> Timestamp {
    let later = certificates
        .iter()
        .filter(|other| other.purpose == stored.purpose && other.key > stored.key);
    match later.map(|other| other.created).min() {
        Some(rolled) => stored.not_after.min(rolled.plus(overlap)),
        None => stored.not_after,
    }
}

/// The keys of a purpose that were rolled and are still there, the newest first, and until when what is for them, or
/// certified or signed by them, is accepted: of `certificates`, newest first, for a stated overlap where there is one.
pub(crate) fn earlier_keys(
    secrets: &[(String, Vec<u8>)],
    certificates: &[OperatorCertificate],
    purpose: Purpose,
    overlap: u64,
) -> Vec<(u64, Timestamp)> {
    let overlap = match purpose {
        Purpose::RequestEncryption => overlap,
        _ => u64::MAX,
    };
    let of_purpose = || certificates.iter().filter(|stored| stored.purpose == purpose);
    let newest = of_purpose().map(|stored| stored.key).max();
    let mut earlier: BTreeMap<u64, Timestamp> = BTreeMap::new();
    for stored in of_purpose().filter(|stored| Some(stored.key) != newest) {
        if !keys::rows_of(secrets, (purpose, stored.key)).is_empty() {
            let until = accepted_until(certificates, stored, overlap);
            let known = earlier.entry(stored.key).or_insert(until);
            *known = until.max(*known);
        }
    }
    earlier.into_iter().rev().collect()
}

/// Ends the overlap of request-encryption keys that is over: nobody opens what is sealed to them any more, this server no
/// more than who takes it over later. Their certificates are left out of `certificates`. While the database takes no writes
/// they stay in it, and are not opened.
pub(super) async fn end(
    store: &Store,
    secrets: &[(String, Vec<u8>)],
    (every, certificates): (&[OperatorCertificate], &mut Vec<OperatorCertificate>),
    settings: Settings<'_>,
) -> Result<(), Error> {
    let purpose = Purpose::RequestEncryption;
    let of_purpose = every.iter().filter(|stored| stored.purpose == purpose);
    let mut kept: Vec<u64> = of_purpose.map(|stored| stored.key).max().into_iter().collect();
    for (number, until) in earlier_keys(secrets, every, purpose, settings.overlap) {
        if settings.now <= until {
            kept.push(number);
            continue;
        }
        let rows = keys::rows_of(secrets, (purpose, number));
        match store.destroy_key((purpose, number), rows, settings.now).await {
            Err(error) if error.is_passing() => {
                tracing::warn!(number, %error, "a request-encryption key is not destroyed yet");
            }
            destroyed => destroyed?,
        }
    }
    certificates.retain(|stored| stored.purpose != purpose || kept.contains(&stored.key));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{clock::Clock, common::World, rolls::Purpose};

    /// Nobody asks for anything meanwhile: the server forgets by itself, and does so once.
    #[tokio::test]
    async fn a_key_whose_time_is_over_is_not_kept_in_memory() {
        let world = World::new().await;
        let held = || world.server.inner().identity().request_keys().count();
        let of_one = held();
        world.server.roll_key(Purpose::RequestEncryption).await.unwrap();
        let until = world.clock.now().plus(world.server.config().certificates.overlap);
        world.clock.set(until);
        world.server.end_overlaps().await.unwrap();
        assert_eq!(held(), 2 * of_one);
        let identity = world.server.inner().identity();
        world.clock.advance(1);
        world.server.end_overlaps().await.unwrap();
        assert_eq!(held(), of_one);
        let after = world.server.inner().identity();
        assert!(!std::sync::Arc::ptr_eq(&identity, &after));
        world.server.end_overlaps().await.unwrap();
        let again = world.server.inner().identity();
        assert!(
            std::sync::Arc::ptr_eq(&after, &again),
            "there is nothing to forget any more"
        );
    }
}
