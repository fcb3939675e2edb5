//! Who may have what performed.

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::ids::Kid;
use keyward_server::{
    Error,
    admin::{Administrator, Scope},
    key_exchange::{Caller, Item, StreamRequest, UseOutcome},
};

use super::{METERS, new_key, told, world_with};

const OTHER: Kid = Kid::new([0xe2; 16]);

fn items() -> Vec<Item> {
    vec![Item::Sign { data: vec![1] }]
}

#[tokio::test]
async fn a_token_is_for_its_keys_until_it_is_revoked() {
    let world = world_with(Algorithm::HmacSha256, Operation::Verify).await;
    let server = &world.server;
    let other = new_key(OTHER, Algorithm::HmacSha256, Operation::Verify);
    server.create_exchange_key(other).await.unwrap();
    let one = server
        .create_exchange_token("one", Some(vec![METERS, METERS]))
        .await
        .unwrap();
    let all = server.create_exchange_token("all", None).await.unwrap();
    assert!(one.expose().starts_with("kw_"));
    let caller = server.authenticate_exchange(one.expose()).await.unwrap().unwrap();
    let every = server.authenticate_exchange(all.expose()).await.unwrap().unwrap();
    assert_eq!((caller.name(), every.name()), ("token:one", "token:all"));
    server.exchange_perform(&caller, METERS, items()).await.unwrap();
    server.exchange_perform(&every, OTHER, items()).await.unwrap();
    let refused = server.exchange_perform(&caller, OTHER, items()).await;
    assert_eq!(
        told(refused),
        format!("`token:one` may not use exchange key {OTHER}")
    );
    let unknown = server.exchange_perform(&caller, Kid::new([1; 16]), items()).await;
    assert!(
        matches!(unknown, Err(Error::ExchangeNotPermitted { .. })),
        "which keys there are is not told"
    );
    let uses = loop {
        // Nobody waits for the record of what was not permitted.
        let uses = server.exchange_uses(OTHER, None, 9).await.unwrap();
        if uses.len() == 2 {
            break uses;
        }
        tokio::task::yield_now().await;
    };
    let told_uses: Vec<_> = uses.iter().map(|used| (used.outcome, &used.caller[..])).collect();
    assert_eq!(
        told_uses,
        [
            (UseOutcome::Refused, "token:one"),
            (UseOutcome::Done, "token:all")
        ]
    );

    server.revoke_exchange_token("one").await.unwrap();
    server.revoke_exchange_token("one").await.unwrap();
    assert_eq!(server.authenticate_exchange(one.expose()).await.unwrap(), None);
    assert!(server.authenticate_admin(all.expose()).await.unwrap().is_none());
    assert!(
        server
            .authenticate_exchange(&world.admin_token)
            .await
            .unwrap()
            .is_none()
    );
    let listed = server.exchange_tokens().await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|token| (&token.name[..], token.kids.clone(), token.revoked.is_some()))
        .collect();
    assert_eq!(listed, [("all", None, false), ("one", Some(vec![METERS]), true)]);
    let hashes = "SELECT count(*) FROM exchange_tokens WHERE length(hash) = 32";
    assert_eq!(world.count(hashes).await, 2);
}

/// A record costs a commit, which there is for a key that is there alone: its time, or its failure, would tell.
#[tokio::test]
async fn a_refusal_does_not_wait_for_its_record() {
    let world = world_with(Algorithm::HmacSha256, Operation::Verify).await;
    let server = &world.server;
    let other = new_key(OTHER, Algorithm::HmacSha256, Operation::Verify);
    server.create_exchange_key(other).await.unwrap();
    let one = server
        .create_exchange_token("one", Some(vec![METERS]))
        .await
        .unwrap();
    let caller = server.authenticate_exchange(one.expose()).await.unwrap().unwrap();
    let locked = world.locked().await;
    for kid in [OTHER, Kid::new([1; 16])] {
        let refused = server.exchange_perform(&caller, kid, items()).await;
        assert!(
            matches!(refused, Err(Error::ExchangeNotPermitted { .. })),
            "{refused:?}"
        );
        let refused = server.exchange_stream(&caller, kid, StreamRequest::Sign).await;
        assert!(
            matches!(refused, Err(Error::ExchangeNotPermitted { .. })),
            "{refused:?}"
        );
    }
    drop(locked);
}

#[tokio::test]
async fn what_no_token_can_be_is_refused() {
    let world = world_with(Algorithm::HmacSha256, Operation::Verify).await;
    let server = &world.server;
    server.create_exchange_token("taken", None).await.unwrap();
    for (name, kids) in [
        ("", None),
        ("with space", None),
        (&"n".repeat(65)[..], None),
        ("taken", None),
        ("none", Some(vec![])),
        ("many", Some(vec![METERS; 1001])),
    ] {
        let result = server.create_exchange_token(name, kids).await;
        assert!(matches!(result, Err(Error::OutOfRange { .. })), "{name}");
    }
    let unknown = server.create_exchange_token("unknown", Some(vec![OTHER])).await;
    assert_eq!(told(unknown), format!("there is no exchange key {OTHER}"));
    assert_eq!(server.exchange_tokens().await.unwrap().len(), 1);
    let revoked = server.revoke_exchange_token("nobody").await;
    assert_eq!(told(revoked), "there is no exchange token `nobody`");
}

#[test]
fn an_administrator_calls_with_full_scope_alone() {
    let administrator = |scope| Administrator {
        name: "ann".into(),
        scope,
    };
    assert!(Caller::administrator(&administrator(Scope::Read)).is_none());
    let full = Caller::administrator(&administrator(Scope::Full)).unwrap();
    assert_eq!(full.name(), "admin:ann");
    assert!(full.may_use(&OTHER) && Caller::operator().may_use(&OTHER));
}
