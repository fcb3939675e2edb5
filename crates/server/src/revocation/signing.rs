//! Making lists: announced in the database, signed, kept.

use keyward_crypto::{
    CryptoError,
    ecdsa::SigningKey,
    x509::{
        Certificate, Role,
        issue::{ListProfile, Profile, Revoked, revocation_list, self_signed},
        revocation::RevocationList as CertificateRevocationList,
    },
};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    ids::Digest,
    revocation::{DeviceRevocationList, ISSUED_AHEAD, ListId, ListNumber, RevocationList, RevokedDevices},
    signed::{self, PROTOCOL_VERSION, Unverified},
    time::Timestamp,
};

use super::PublishedList;
use crate::{
    Error,
    chance::rng,
    operator::{Identity, Issuer, Signer, serial},
    server::Inner,
    store::{
        Purpose, Recorded,
        revocation::{AnnouncedList, Generations, ListOf, ListSays, ModelRow, RevokedRow, SignedList},
    },
};

/// The list of an authority whose key is here, and at which generation it is: the one that was signed last, or a new one
/// if that is due.
pub(super) async fn of_authority(
    server: &Inner,
    (purpose, issuer): (Purpose, &Issuer),
    generations: &Generations,
    now: Timestamp,
) -> Result<(PublishedList, i64), Error> {
    let of = ListOf::Authority(purpose);
    let authority = issuer.certificate.public_key_digest();
    let list = newest(server, (of, &authority), generations, now, |announced| {
        sign_certificates(announced, issuer)
    })
    .await?;
    let parsed = CertificateRevocationList::parse(&list.bytes)?;
    let published = PublishedList {
        name: purpose.as_str(),
        id: ListId::of(&parsed).ok_or(Error::Damaged("an authority has no key identifier"))?,
        authority: Some(issuer.certificate.serial().to_vec()),
        number: ListNumber::new(*parsed.number()),
        issued: list.issued,
        next_update: list.next_update,
        entries: parsed.len(),
        list: RevocationList::Certificates {
            list: Bytes(list.bytes),
            path: vec![Bytes(issuer.certificate.der().to_vec())],
        },
    };
    Ok((published, list.generation))
}

/// The operator's own list, and at which generation it is, once there was something to say or where everybody asks for
/// one. Where nothing signs any more, the newest that was signed, if it says what the rows say.
pub(super) async fn own(
    server: &Inner,
    identity: &Identity,
    generations: &Generations,
    now: Timestamp,
) -> Result<Option<(PublishedList, i64)>, Error> {
    let Some(signer) = identity.signs(Purpose::RevocationList) else {
        return signed_before(server, identity, generations).await;
    };
    if generations.of(ListOf::Own.as_str()) == 0 && !server.config.revocation.refuse_expired {
        return Ok(None);
    }
    let sign = |announced| sign_own(announced, identity.operator, signer);
    let list = newest(server, (ListOf::Own, &[]), generations, now, sign).await?;
    let (body, leaf) = read_own(&list.bytes, identity)?;
    // Whoever gets a list asks whether its signer is valid now.
    let (list, body) = if Some(&leaf) == signer.chain.first() {
        (list, body)
    } else {
        let list = make(server, (ListOf::Own, &[]), now, sign).await?;
        let (body, _) = read_own(&list.bytes, identity)?;
        (list, body)
    };
    Ok(Some(published_own(list, &body)))
}

async fn signed_before(
    server: &Inner,
    identity: &Identity,
    generations: &Generations,
) -> Result<Option<(PublishedList, i64)>, Error> {
    let generation = generations.of(ListOf::Own.as_str());
    let newest = server.store.newest_list(&[]).await?;
    let Some(list) = newest.filter(|list| generation > 0 && list.generation == generation) else {
        return Ok(None);
    };
    let (body, _) = read_own(&list.bytes, identity)?;
    Ok(Some(published_own(list, &body)))
}

fn published_own(list: SignedList, body: &DeviceRevocationList) -> (PublishedList, i64) {
    let published = PublishedList {
        name: ListOf::Own.as_str(),
        id: ListId::DEVICES,
        authority: None,
        number: ListNumber::from(body.number),
        issued: list.issued,
        next_update: list.next_update,
        entries: body.revoked.as_ref().map_or(0, Vec::len),
        list: RevocationList::Devices(Bytes(list.bytes)),
    };
    (published, list.generation)
}

/// A list that somebody else signs, as it was imported.
pub(super) fn imported(der: &[u8]) -> Result<PublishedList, Error> {
    let parsed = CertificateRevocationList::parse(der)?;
    Ok(PublishedList {
        name: "root",
        id: ListId::of(&parsed).ok_or(Error::Damaged("the root has no key identifier"))?,
        authority: None,
        number: ListNumber::new(*parsed.number()),
        issued: Timestamp(parsed.this_update()),
        next_update: Timestamp(parsed.next_update()),
        entries: parsed.len(),
        list: RevocationList::Certificates {
            list: Bytes(der.to_vec()),
            path: Vec::new(),
        },
    })
}

/// When a list is signed anew.
pub(super) const fn renew_at(issued: Timestamp, next_update: Timestamp) -> Timestamp {
    issued.plus(next_update.0.saturating_sub(issued.0) / 2)
}

/// The newest list, signed anew if it does not say what the rows say or half of its life is over. While the database
/// takes no writes, one that says the right thing serves on.
async fn newest(
    server: &Inner,
    (of, authority): (ListOf, &[u8]),
    generations: &Generations,
    now: Timestamp,
    sign: impl Fn(AnnouncedList) -> Result<Vec<u8>, Error>,
) -> Result<SignedList, Error> {
    let held = server.store.newest_list(authority).await?;
    let says_it = |held: &SignedList| held.generation == generations.of(of.as_str());
    // Nobody takes one that a clock ahead of time made.
    let is_due = |held: &SignedList| {
        now >= renew_at(held.issued, held.next_update) || held.issued > now.plus(ISSUED_AHEAD)
    };
    match held.filter(says_it) {
        Some(held) if !is_due(&held) => Ok(held),
        Some(held) => match make(server, (of, authority), now, sign).await {
            Err(error) if error.is_passing() => {
                tracing::warn!(list = of.as_str(), %error, "a revocation list is not renewed yet");
                Ok(held)
            }
            made => made,
        },
        None => make(server, (of, authority), now, sign).await,
    }
}

/// Announces, signs and keeps a list.
async fn make(
    server: &Inner,
    (of, authority): (ListOf, &[u8]),
    now: Timestamp,
    sign: impl Fn(AnnouncedList) -> Result<Vec<u8>, Error>,
) -> Result<SignedList, Error> {
    let lifetime = server.config.revocation.lifetime;
    let announced = server
        .store
        .announce_list((of, authority.to_vec()), None, lifetime, now);
    let announced: Recorded<AnnouncedList> = announced.await?;
    let announced = announced.into_inner();
    let list = SignedList {
        number: announced.number,
        generation: announced.generation,
        issued: announced.issued,
        next_update: announced.next_update,
        bytes: sign(announced)?,
    };
    server
        .store
        .keep_list(authority.to_vec(), list.number, list.bytes.clone())
        .await?;
    tracing::info!(list = of.as_str(), number = list.number, "revocation list signed");
    Ok(list)
}

fn sign_certificates(announced: AnnouncedList, issuer: &Issuer) -> Result<Vec<u8>, Error> {
    let ListSays::Certificates(rows) = announced.says else {
        return Err(Error::Damaged("an authority's list names no certificates"));
    };
    let life = (announced.issued, announced.next_update);
    Ok(list_of(&rows, announced.number, life, issuer)?)
}

fn list_of(
    rows: &[RevokedRow],
    number: u64,
    (issued, next_update): (Timestamp, Timestamp),
    issuer: &Issuer,
) -> Result<Vec<u8>, CryptoError> {
    let revoked: Vec<_> = rows.iter().map(entry).collect();
    let profile = ListProfile {
        number,
        this_update: issued.0,
        next_update: next_update.0,
        revoked: &revoked,
    };
    revocation_list(&profile, &issuer.certificate, &issuer.key)
}

/// Makes a list of these rows as an authority would that nobody knows, and throws it away.
///
/// # Errors
/// What keeps it from being made, with the serial number that does, if it is one.
pub(crate) fn tried(rows: &[RevokedRow], now: Timestamp) -> Result<(), (CryptoError, Option<Vec<u8>>)> {
    let life = (now, now.plus(1));
    let of_all = |error| (error, None);
    let issuer = unknown_authority(life).map_err(of_all)?;
    let Err(error) = list_of(rows, 1, life, &issuer) else {
        return Ok(());
    };
    let mut each = rows.iter().map(core::slice::from_ref);
    let one = each.find_map(|row| Some((list_of(row, 1, life, &issuer).err()?, row.first()?)));
    Err(one.map_or((error, None), |(error, row)| (error, Some(row.serial.clone()))))
}

fn unknown_authority((begins, ends): (Timestamp, Timestamp)) -> Result<Issuer, CryptoError> {
    let key = SigningKey::generate(&mut rng());
    let profile = Profile {
        subject: "nobody",
        roles: &[],
        authority: Some(0),
        not_before: begins.0,
        not_after: ends.0,
        claims: None,
        serial: serial(&mut rng()),
    };
    let certificate = Certificate::parse(&self_signed(&profile, &key)?)?;
    Ok(Issuer { certificate, key })
}

fn entry(row: &RevokedRow) -> Revoked<'_> {
    Revoked {
        serial: &row.serial,
        at: row.revoked.0,
        invalid_since: row.invalid_since.map(|since| since.0),
        reason: row.reason,
    }
}

fn sign_own(announced: AnnouncedList, operator: Digest, signer: &Signer) -> Result<Vec<u8>, Error> {
    let ListSays::Models(models, allowed) = announced.says else {
        return Err(Error::Damaged("the operator's own list names no models"));
    };
    let revoked: Vec<_> = models.into_iter().map(revoked_devices).collect();
    let body = DeviceRevocationList {
        version: PROTOCOL_VERSION,
        operator,
        number: announced.number,
        issued: announced.issued,
        next_update: announced.next_update,
        revoked: (!revoked.is_empty()).then_some(revoked),
        allowed: (!allowed.is_empty()).then_some(allowed),
    };
    body.check_bounds()?;
    let body = grease(&body.encode(), &mut rng())?;
    signed::sign::<DeviceRevocationList>(&body, &[], &signer.chain, &*signer.key).map_err(Error::Making)
}

fn revoked_devices(row: ModelRow) -> RevokedDevices {
    RevokedDevices {
        maker: row.maker,
        model: row.model,
        robustness_below: row.robustness_below,
        since: row.since,
        reason: row.reason,
    }
}

/// What the operator's own list says, and the certificate that it was signed with.
fn read_own(list: &[u8], identity: &Identity) -> Result<(DeviceRevocationList, Vec<u8>), Error> {
    let verified = Unverified::<DeviceRevocationList>::parse(list)
        .and_then(|list| list.verify(&identity.anchor, Role::RevocationList, |body| vec![body.issued]))
        .map_err(|_| Error::Damaged("the operator's own revocation list does not verify"))?;
    let leaf = verified.signer().map(|leaf| leaf.der().to_vec());
    Ok((verified.into_body(), leaf.unwrap_or_default()))
}
