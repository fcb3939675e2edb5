//! `POST /exchange-keys/{kid}/perform`: mirror operations, many in a call.
//!
//! ```text
//!  {"operation": "decrypt", "items": [{"result": "…", "aad": "…"}, …]}
//!      -> {"results": [{"data": "…"}, {"error": {"name": "not-verified", "detail": "…", "hint": "…"}}, …]}
//! ```
//! Bytes are base64url without padding. Each item has a result, in their order:
//!
//! ```text
//!  encrypt  data, aad?         -> result         decrypt  result, aad?       -> data
//!  sign     data               -> signature      verify   data, signature    -> valid: true or false
//!  wrap     key                -> result         unwrap   result             -> key
//! ```

use core::fmt;
use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use keyward_crypto::{SecretBytes, exchange::Operation};
use keyward_license::error_code::ErrorCode;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use tokio::sync::Semaphore;

use super::{
    exchange_keys::{Named, operation},
    json::{Base64Url, Json, encode},
    problem::AdminProblem,
};
use crate::{
    Server,
    key_exchange::{Caller, Item, ItemResult, MAX_CALL_BYTES, MAX_ITEMS, Output, PerformFault},
};

/// Largest body: all the bytes of a call in base64url, and what stands around them.
pub(super) const BODY_BYTES: usize = MAX_CALL_BYTES / 3 * 4 + (1 << 20);

/// Room for the calls in work: a call is held in memory several times over, as text and as bytes.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIBIBYTES)))
    }
}

/// Bodies of calls that are worked on at the same time, together.
const ROOM_KIBIBYTES: usize = 64 * 1024;

/// Lets a call wait for its turn until there is room for its body.
pub(super) async fn in_turn(
    State(Room(room)): State<Room>,
    request: Request,
    next: Next,
) -> Result<Response, AdminProblem> {
    let stated = request.headers().get(header::CONTENT_LENGTH);
    let stated = stated.and_then(|length| length.to_str().ok()?.parse().ok());
    let stopping = |_| AdminProblem::new(ErrorCode::Busy, "the server is stopping");
    let _share = room.acquire_many_owned(share(stated)).await.map_err(stopping)?;
    Ok(next.run(request).await)
}

/// Kibibytes of a body of this length; of the largest that there may be, if it does not say.
fn share(stated: Option<usize>) -> u32 {
    let bytes = stated.unwrap_or(BODY_BYTES).min(BODY_BYTES);
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    operation: String,
    #[serde(deserialize_with = "bounded")]
    items: Vec<Asked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    data: Option<Base64Url>,
    result: Option<Base64Url>,
    key: Option<Base64Url>,
    aad: Option<Base64Url>,
    signature: Option<Base64Url>,
}

/// Items, of which one more than there may be is kept at most: as text they are small, and large in memory.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Asked>, D::Error> {
    struct Items;

    impl<'de> Visitor<'de> for Items {
        type Value = Vec<Asked>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Asked>, A::Error> {
            let mut kept = Vec::new();
            while kept.len() <= MAX_ITEMS {
                let Some(item) = items.next_element()? else {
                    return Ok(kept);
                };
                kept.push(item);
            }
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }

    deserializer.deserialize_seq(Items)
}

#[derive(Serialize)]
pub(super) struct Answer {
    results: Vec<Answered>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answered {
    Result(String),
    Data(String),
    Signature(String),
    Valid(bool),
    Key(String),
    Error(Fault),
}

#[derive(Serialize)]
struct Fault {
    name: &'static str,
    detail: String,
    hint: &'static str,
}

pub(super) async fn perform(
    State(server): State<Server>,
    Extension(caller): Extension<Caller>,
    Named(kid): Named,
    Json(call): Json<Call>,
) -> Result<axum::Json<Answer>, AdminProblem> {
    let operation = operation(&call.operation)?;
    let items = call.items.into_iter().map(|item| item.read(operation));
    let items = items.collect::<Option<Vec<_>>>().ok_or_else(|| {
        let detail = format!("an item of `{operation}` has not the fields that it should have");
        AdminProblem::new(ErrorCode::Malformed, detail)
    })?;
    let results = server.exchange_perform(&caller, kid, items).await?;
    let results = results.into_iter().map(Answered::of).collect();
    Ok(axum::Json(Answer { results }))
}

impl Asked {
    /// The item, if it has the fields of its operation and no others.
    fn read(self, operation: Operation) -> Option<Item> {
        let bytes = |bytes: Base64Url| bytes.0.to_vec();
        let aad = |aad: Option<Base64Url>| aad.map(bytes).unwrap_or_default();
        let secret = |bytes: Base64Url| SecretBytes::new(bytes.0.to_vec());
        match (operation, self) {
            (
                Operation::Encrypt,
                Self {
                    data: Some(data),
                    aad: more,
                    result: None,
                    key: None,
                    signature: None,
                },
            ) => Some(Item::Encrypt {
                data: secret(data),
                aad: aad(more),
            }),
            (
                Operation::Decrypt,
                Self {
                    result: Some(result),
                    aad: more,
                    data: None,
                    key: None,
                    signature: None,
                },
            ) => Some(Item::Decrypt {
                result: bytes(result),
                aad: aad(more),
            }),
            (
                Operation::Sign,
                Self {
                    data: Some(data),
                    result: None,
                    key: None,
                    aad: None,
                    signature: None,
                },
            ) => Some(Item::Sign { data: bytes(data) }),
            (
                Operation::Verify,
                Self {
                    data: Some(data),
                    signature: Some(signature),
                    result: None,
                    key: None,
                    aad: None,
                },
            ) => Some(Item::Verify {
                data: bytes(data),
                signature: bytes(signature),
            }),
            (
                Operation::Wrap,
                Self {
                    key: Some(key),
                    data: None,
                    result: None,
                    aad: None,
                    signature: None,
                },
            ) => Some(Item::Wrap { key: secret(key) }),
            (
                Operation::Unwrap,
                Self {
                    result: Some(result),
                    data: None,
                    key: None,
                    aad: None,
                    signature: None,
                },
            ) => Some(Item::Unwrap {
                result: bytes(result),
            }),
            _ => None,
        }
    }
}

impl Answered {
    fn of(result: ItemResult) -> Self {
        match result {
            Ok(Output::Encrypted(result) | Output::Wrapped(result)) => Self::Result(encode(&result)),
            Ok(Output::Signed(signature)) => Self::Signature(encode(&signature)),
            Ok(Output::Decrypted(data)) => Self::Data(encode(data.expose())),
            Ok(Output::Unwrapped(key)) => Self::Key(encode(key.expose())),
            Ok(Output::Verified(verification)) => Self::Valid(verification.is_valid()),
            Err(fault) => Self::Error(Fault::of(fault)),
        }
    }
}

impl Fault {
    fn of(fault: PerformFault) -> Self {
        Self {
            name: fault.name(),
            detail: fault.to_string(),
            hint: fault.hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest item is three bytes long as text, and many times that in memory.
    #[test]
    fn items_that_are_too_many_are_not_kept() {
        let call = |items: usize| {
            let items = vec!["{}"; items].join(",");
            let text = format!(r#"{{"operation": "sign", "items": [{items}]}}"#);
            serde_json::from_str::<Call>(&text).unwrap().items.len()
        };
        assert_eq!(call(0), 0);
        assert_eq!(call(MAX_ITEMS), MAX_ITEMS);
        assert_eq!(call(MAX_ITEMS + 1), MAX_ITEMS + 1, "one more, which is refused");
        assert_eq!(call(20 * MAX_ITEMS), MAX_ITEMS + 1);
        let malformed = r#"{"operation": "sign", "items": [{}, {"what": 1}]}"#;
        assert!(serde_json::from_str::<Call>(malformed).is_err());
    }

    #[test]
    fn a_call_takes_the_room_of_its_body_and_there_is_room_for_the_largest() {
        let largest = BODY_BYTES.div_ceil(1024);
        let largest = u32::try_from(largest).unwrap();
        for (stated, kibibytes) in [
            (Some(0), 0),
            (Some(1), 1),
            (Some(4096), 4),
            (Some(usize::MAX), largest),
            (None, largest),
        ] {
            assert_eq!(share(stated), kibibytes);
        }
        assert!(Room::new().0.available_permits() > 4 * largest as usize);
    }
}
