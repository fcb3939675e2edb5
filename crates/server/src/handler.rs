//! Deciding who may have what, in Rust.
//!
//! ```text
//!  license request ─► authenticated ─► LicenseHandler ─► terms tried on the device ─► recorded ─► signed
//!                     device, account,      │   ▲
//!                     registered keys ──────┘   └────── for each key id: grant, denial, or nothing said
//! ```
//! A [`LicenseHandler`] is asked once for each license request whose device is known, and answers for each key id.
//! It decides, and no more: it sees no content key, signs nothing and writes nothing. Whatever it grants, the server
//! issues only what the device can use, under checked terms, after recording it.
//!
//! What the server has of its own are handlers as well: the rows of the database ([`Rows`]), authorization tokens
//! and the authorization webhook. `[authorization] sources` names which of them are asked, and in which order; a
//! server that is opened with [`Server::open_with_handler`](crate::Server::open_with_handler) asks its handler alone.
//!
//! Beside the key ids of a request stand those of the roots under which their keys are, so that whoever grants a root
//! grants what is under it. A key id that is granted by itself gets a license by itself.
//!
//! Handlers are asked in order. **The first one that grants or denies a key id decides it**; a key id about which it
//! says nothing is put before the next. A key id that none decides is denied as `not-entitled`. A handler that fails
//! denies every key id that it was asked about: nothing is granted because somebody could not be asked. A handler that
//! grants a root has decided the keys under it as well, except those that it decides by themselves.
//!
//! ```
//! use keyward_license::error_code::ErrorCode;
//! use keyward_server::{handler::{Asked, Decision, HandlerError, LicenseHandler, Permission}, policy::Preset};
//!
//! /// Everybody may have the films of the week, for as long as they are that.
//! struct FilmsOfTheWeek(Vec<String>);
//!
//! impl LicenseHandler for FilmsOfTheWeek {
//!     async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
//!         let mut decision = Decision::default();
//!         for key in &asked.keys {
//!             if key.content.as_ref().is_some_and(|film| self.0.contains(film)) {
//!                 decision.grant(key.kid, Permission::own(Preset::Rental.terms()));
//!             } else {
//!                 decision.deny(key.kid, ErrorCode::NotEntitled, "not a film of the week", None);
//!             }
//!         }
//!         Ok(decision)
//!     }
//! }
//! ```

mod narrowing;
mod rows;
pub(crate) mod sources;

use core::{fmt, future::Future, pin::Pin};
use std::error::Error as StdError;

use keyward_license::{
    error_code::ErrorCode,
    ids::{DeviceId, Digest, Kid},
    license::KeyType,
    request::{Capabilities, ClientInfo},
    response::Denial,
    time::Timestamp,
};
use zeroize::Zeroizing;

use crate::policy::PolicyTerms;

pub use narrowing::Narrowing;
pub use rows::Rows;

/// Longest custom data of an answer, in bytes.
pub const MAX_CUSTOM_DATA: usize = 16 * 1024;
/// Longest sentence of a denial, in characters.
pub const MAX_SENTENCE: usize = 500;
/// Longest URL of a denial, in bytes.
pub const MAX_URL: usize = 1024;

/// Decides who may have what. The module's documentation says how it is asked.
pub trait LicenseHandler: Send + Sync + 'static {
    /// Decides about the key ids of a request. It may be asked about one request again, if the answer was never
    /// recorded, so that deciding should change nothing.
    ///
    /// # Errors
    /// [`HandlerError`]: every key id is then denied as `busy`, and the error goes to the log.
    fn decide(&self, asked: &Asked) -> impl Future<Output = Result<Decision, HandlerError>> + Send;
}

/// A license request of an enrolled device, verified: signed by the device, not revoked, not replayed.
#[derive(Clone)]
#[non_exhaustive]
pub struct Asked {
    /// SHA-256 of the request's body: names the request.
    pub request: Digest,
    /// The device.
    pub device: DeviceId,
    /// The account that the device was enrolled for.
    pub account: String,
    /// The device's security level: the lower of what its certificate and its enrolment say.
    pub security_level: u64,
    /// The client program, as it names itself.
    pub client: ClientInfo,
    /// What the client says that it understands.
    pub capabilities: Capabilities,
    /// Whether the client wants to store licenses.
    pub persistent: bool,
    /// The key ids that are left to decide, each once, all of them registered. Others are denied unasked.
    pub keys: Vec<AskedKey>,
    /// The token that speaks for the viewer, as it was found: whoever decides by it verifies it first.
    pub authorization: Option<AuthorizationToken>,
    /// The application's own bytes.
    pub custom_data: Option<Vec<u8>>,
    /// The server's time.
    pub now: Timestamp,
}

/// Without what the application says, which may hold a credential.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("device", &self.device)
            .field("account", &self.account)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A key id that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AskedKey {
    /// The key id.
    pub kid: Kid,
    /// What the key protects.
    pub key_type: KeyType,
    /// Smallest security level of a device that gets the key, whatever is granted.
    pub minimum_security_level: Option<u64>,
    /// The content id under which a packager asked for the key, if one did.
    pub content: Option<String>,
    /// The label of the content's track.
    pub label: Option<String>,
    /// What the root is called, of the key id of a root.
    pub root: Option<String>,
    /// What the rows of the database say about account and key id, if anything.
    pub entitlement: Option<EntitlementRow>,
}

/// An entitlement in the database, live now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntitlementRow {
    /// Name of the policy.
    pub policy: String,
    /// Its newest version.
    pub version: u64,
    /// When the entitlement ends, if it does.
    pub expires: Option<Timestamp>,
}

/// A token that speaks for the viewer. Not printed: it is a credential.
#[derive(Clone)]
pub struct AuthorizationToken(Zeroizing<String>);

impl AuthorizationToken {
    pub(crate) fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// The token. Every caller of this method handles a credential in the clear.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AuthorizationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizationToken(redacted)")
    }
}

/// What a handler decides.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    pub(crate) verdicts: Vec<(Kid, Verdict)>,
    pub(crate) custom_data: Option<Vec<u8>>,
    pub(crate) once: Option<Once>,
}

/// What becomes of one key id.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    Grant(Box<Permission>),
    Deny(Denial),
}

impl Decision {
    /// Grants a key id. Of several verdicts about one key id, the first counts.
    pub fn grant(&mut self, kid: Kid, permission: Permission) {
        self.verdicts.push((kid, Verdict::Grant(Box::new(permission))));
    }

    /// Denies a key id, with a sentence for the viewer and a page that helps. The sentence is cut at
    /// [`MAX_SENTENCE`] characters, control characters are left out of it, and a page that is not `https`, or
    /// `http` on loopback, is not named.
    pub fn deny(&mut self, kid: Kid, code: ErrorCode, sentence: &str, url: Option<&str>) {
        let readable = sentence.chars().filter(|letter| !letter.is_control());
        let denial = Denial {
            code: code.number(),
            sentence: readable.take(MAX_SENTENCE).collect(),
            url: url.filter(|url| crate::config::is_page(url)).map(str::to_owned),
        };
        self.verdicts.push((kid, Verdict::Deny(denial)));
    }

    /// Denies every key id that is asked for.
    pub(crate) fn deny_all(&mut self, asked: &Asked, code: ErrorCode, sentence: &str) {
        for key in &asked.keys {
            self.deny(key.kid, code, sentence, None);
        }
    }

    /// Says something to the application, in the signed response. Of several handlers that do, the first is heard.
    ///
    /// # Errors
    /// [`HandlerError`] beyond [`MAX_CUSTOM_DATA`] bytes.
    pub fn set_custom_data(&mut self, data: Vec<u8>) -> Result<(), HandlerError> {
        if data.len() > MAX_CUSTOM_DATA {
            return Err(HandlerError::new("the custom data is longer than 16384 bytes"));
        }
        self.custom_data = Some(data);
        Ok(())
    }

    /// Makes what is granted here good for one answer: `id` is recorded together with the licenses, and a later
    /// request that rests on the same one, whoever makes it, is denied as `authorization-refused`. Ids of different
    /// `issuer`s are different. After `until`, by which the grant must have ended by other means, the record goes.
    pub fn only_once(&mut self, issuer: &str, id: &[u8], until: Timestamp) {
        self.once = Some(Once {
            issuer: issuer.to_owned(),
            id: keyward_crypto::kdf::sha256(&[id]),
            until,
        });
    }
}

/// What must not be used twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Once {
    pub(crate) issuer: String,
    /// A hash, so that ids of any length take the same room.
    pub(crate) id: [u8; 32],
    pub(crate) until: Timestamp,
}

/// Under which terms a key id is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The terms.
    pub terms: Terms,
    /// No license outlasts this.
    pub expires: Option<Timestamp>,
    /// What the terms are narrowed by.
    pub narrowing: Narrowing,
}

/// Where the terms of a license come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terms {
    /// The account's entitlement in the database, which must exist.
    Entitlement,
    /// The newest version of the operator's policy of this name.
    Policy(String),
    /// The handler's own. They must pass [`PolicyTerms::check`].
    Own(Box<PolicyTerms>),
}

impl Permission {
    /// As the account's entitlement in the database says.
    #[must_use]
    pub const fn entitlement() -> Self {
        Self::under(Terms::Entitlement)
    }

    /// Under a policy of the operator.
    #[must_use]
    pub fn policy(name: &str) -> Self {
        Self::under(Terms::Policy(name.to_owned()))
    }

    /// Under the handler's own terms.
    #[must_use]
    pub fn own(terms: PolicyTerms) -> Self {
        Self::under(Terms::Own(Box::new(terms)))
    }

    const fn under(terms: Terms) -> Self {
        Self {
            terms,
            expires: None,
            narrowing: Narrowing::NONE,
        }
    }
}

/// Why a handler could not decide. `?` makes it from any error.
pub struct HandlerError(Box<dyn StdError + Send + Sync>);

impl HandlerError {
    /// An error that is a sentence.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self(reason.into())
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut causes = core::iter::successors(self.0.source(), |cause| (**cause).source());
        causes.try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A handler among others.
pub(crate) trait Source: Send + Sync {
    fn ask<'a>(&'a self, asked: &'a Asked) -> Asking<'a>;
}

pub(crate) type Asking<'a> = Pin<Box<dyn Future<Output = Result<Decision, HandlerError>> + Send + 'a>>;

impl<H: LicenseHandler> Source for H {
    fn ask<'a>(&'a self, asked: &'a Asked) -> Asking<'a> {
        Box::pin(self.decide(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KID: Kid = Kid::new([1; 16]);

    #[test]
    fn a_handlers_words_are_bounded() {
        let mut decision = Decision::default();
        let long = format!("a\n{}", "b".repeat(600));
        decision.deny(KID, ErrorCode::NotEntitled, &long, Some("http://shop.example"));
        decision.deny(
            KID,
            ErrorCode::NotEntitled,
            "no",
            Some("https://shop.example/plans"),
        );
        let urls: Vec<_> = decision
            .verdicts
            .iter()
            .map(|(_, verdict)| match verdict {
                Verdict::Deny(denial) => (denial.sentence.chars().count(), denial.url.as_deref()),
                Verdict::Grant(_) => unreachable!(),
            })
            .collect();
        assert_eq!(urls, [(500, None), (2, Some("https://shop.example/plans"))]);
        assert!(decision.set_custom_data(vec![0; MAX_CUSTOM_DATA + 1]).is_err());
        decision.set_custom_data(vec![0; MAX_CUSTOM_DATA]).unwrap();
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_a_token_never() {
        let error = HandlerError::new("cannot ask");
        assert_eq!(
            (error.to_string(), format!("{error:?}")),
            ("cannot ask".into(), "cannot ask".into())
        );
        let io = std::io::Error::other(std::fmt::Error);
        assert!(
            HandlerError::from(io)
                .to_string()
                .starts_with("an error occurred")
        );
        assert_eq!(
            format!("{:?}", AuthorizationToken::new("ey.secret".to_owned())),
            "AuthorizationToken(redacted)"
        );
    }
}
