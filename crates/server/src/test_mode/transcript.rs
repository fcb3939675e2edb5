//! Transcripts: what went between clients and a test operator, to be answered again without it.
//!
//! ```text
//!  keyward serve --record FILE    every exchange, as it was on the wire ──► FILE
//!  keyward replay FILE            the recorded answers, byte for byte, to who asks the same
//!  keyward replay --check FILE    each request and answer opened and verified, without a network
//! ```
//! A file of lines, each a JSON object: first what is needed to read the rest, then one exchange each. A client asks
//! the same if its signed requests have the same bodies: one whose random numbers come from a seed and whose clock
//! stands still. Signature and seal may differ; they are opened with the operator's keys.
//!
//! The first line holds the operator's request-encryption keys: whoever has the file opens every request. That is why
//! there are transcripts of test operators alone, which have nothing to guard.

mod check;

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_crypto::{
    SecretBytes,
    cose::Sign1,
    hpke::{KeyPair, Suite},
    kdf::sha256,
    x509::Anchor,
};
use keyward_license::{
    acknowledgement::AcknowledgeRequest, codec::Wire, enrolment::EnrolmentRequest, envelope::SealedRequest,
    operator_profile::OperatorProfile, packaging::PackagingRequest, request::LicenseRequest,
    signed::SignedBody, time::Timestamp,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tokio::net::TcpListener;

use crate::{Error, Server, http, operator};

pub use check::ExchangeFault;

/// Version of the form.
const VERSION: u64 = 1;
/// Largest transcript, in bytes.
const LARGEST: u64 = 1 << 30;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(rename = "keyward-transcript")]
    version: u64,
    /// The operator profile.
    profile: Bytes,
    /// Where the server listened.
    listen: String,
    request_keys: Vec<Key>,
}

/// A private key that requests are opened with.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    suite: u64,
    private_key: String,
}

/// One exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The server's time.
    #[serde(with = "seconds")]
    pub time: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The request's body.
    pub request: Bytes,
    /// HTTP status of the answer.
    pub status: u16,
    /// Media type of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// After how many seconds the answer says to come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// The answer's body.
    pub answer: Bytes,
}

/// Bytes, in base64.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

/// Appends exchanges to a file.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: Mutex<fs::File>,
}

impl Recorder {
    /// Opens the file, which must not exist.
    ///
    /// # Errors
    /// [`Error::NotATestOperator`], [`Error::File`].
    pub fn create(server: &Server, path: &Path) -> Result<Self, Error> {
        if !server.is_test() {
            return Err(Error::NotATestOperator);
        }
        let identity = server.inner().identity();
        let config = server.config();
        let key = |key: &KeyPair| Key {
            suite: key.suite().number(),
            private_key: hex::encode(key.private_key().expose()),
        };
        let head = Head {
            version: VERSION,
            profile: Bytes(operator::profile(config, identity.anchor.der()).encode()),
            listen: config.listen.to_string(),
            request_keys: identity.request_keys().map(key).collect(),
        };
        let file = fs::File::create_new(path).map_err(Error::file("write", path))?;
        let recorder = Self {
            path: path.to_owned(),
            file: Mutex::new(file),
        };
        recorder.write(&head)?;
        Ok(recorder)
    }

    /// Appends one exchange.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn append(&self, exchange: &Exchange) -> Result<(), Error> {
        self.write(exchange)
    }

    fn write(&self, line: &impl Serialize) -> Result<(), Error> {
        let failed = |error| Error::file("write", &self.path)(error);
        let mut text = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text).map_err(failed)
    }
}

/// What was recorded.
pub struct Transcript {
    profile: OperatorProfile,
    anchor: Anchor,
    listen: String,
    keys: Vec<KeyPair>,
    exchanges: Vec<Exchange>,
    /// What each exchange was asked with.
    asked: Vec<[u8; 32]>,
    /// How often each was answered again.
    answered: Mutex<HashMap<[u8; 32], usize>>,
}

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Transcript`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let size = fs::metadata(path).map_err(Error::file("read", path))?.len();
        if size > LARGEST {
            return Err(Error::Transcript("it is larger than 1 GiB"));
        }
        Self::parse(&fs::read(path).map_err(Error::file("read", path))?)
    }

    /// Reads the bytes of a transcript.
    ///
    /// # Errors
    /// [`Error::Transcript`].
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let head = lines.next().unwrap_or_default();
        let head: Head =
            serde_json::from_slice(head).map_err(|_| Error::Transcript("its first line is not one"))?;
        if head.version != VERSION {
            return Err(Error::Transcript("it is of another version"));
        }
        let profile = OperatorProfile::decode(&head.profile.0);
        let profile = profile.map_err(|_| Error::Transcript("its operator profile is malformed"))?;
        let anchor = profile.anchor();
        let anchor = anchor.map_err(|_| Error::Transcript("its operator has no root"))?;
        if !anchor.is_test() {
            return Err(Error::NotATestOperator);
        }
        let keys: Result<Vec<_>, _> = head.request_keys.into_iter().map(Key::open).collect();
        let exchange = |line| serde_json::from_slice(line);
        let exchanges: Result<Vec<Exchange>, _> = lines.map(exchange).collect();
        let mut transcript = Self {
            profile,
            anchor,
            listen: head.listen,
            keys: keys?,
            exchanges: exchanges.map_err(|_| Error::Transcript("one of its lines is no exchange"))?,
            asked: Vec::new(),
            answered: Mutex::default(),
        };
        let asked = |one: &Exchange| transcript.asked(&one.method, &one.path, &one.request.0);
        transcript.asked = transcript.exchanges.iter().map(asked).collect();
        Ok(transcript)
    }

    /// The operator that it is of.
    #[must_use]
    pub const fn profile(&self) -> &OperatorProfile {
        &self.profile
    }

    /// Where the recorded server listened.
    #[must_use]
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// Serves its answers on a loopback address until `shutdown` is ready.
    ///
    /// # Errors
    /// [`Error::NotLoopback`], [`Error::Serving`].
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        http::transcript::replay(self, listener, shutdown).await
    }

    /// Everything that was recorded, in its order.
    #[must_use]
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// The recorded answer to a request. What was asked several times is answered in the order of then, and after the
    /// last as the last time.
    #[must_use]
    pub fn answer(&self, method: &str, path: &str, request: &[u8]) -> Option<&Exchange> {
        let asked = self.asked(method, path, request);
        let recorded = self.asked.iter().zip(&self.exchanges);
        let same: Vec<_> = recorded.filter(|(one, _)| **one == asked).collect();
        let last = same.len().checked_sub(1)?;
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let times = answered.entry(asked).or_default();
        let at = (*times).min(last);
        *times = times.saturating_add(1);
        same.get(at).map(|(_, exchange)| *exchange)
    }

    /// What a request asks: method, path with query, and the payload of the signed message, or the bytes as they are if
    /// they open to none.
    fn asked(&self, method: &str, path: &str, request: &[u8]) -> [u8; 32] {
        let opened = self.opened(request);
        let signed = opened
            .as_ref()
            .and_then(|opened| Sign1::parse(opened.expose()).ok());
        let payload = signed.as_ref().map_or(request, Sign1::unverified_payload);
        let lengths = [method, path].map(|text| (text.len() as u64).to_be_bytes());
        let [of_method, of_path] = &lengths;
        sha256(&[of_method, method.as_bytes(), of_path, path.as_bytes(), payload])
    }

    fn opened(&self, request: &[u8]) -> Option<SecretBytes> {
        let envelope = SealedRequest::decode(request).ok()?;
        let mut contexts = CONTEXTS.iter();
        contexts.find_map(|context| envelope.open(context, &self.keys).ok())
    }
}

/// What requests are sealed in.
const CONTEXTS: [&str; 4] = [
    AcknowledgeRequest::CONTEXT,
    LicenseRequest::CONTEXT,
    EnrolmentRequest::CONTEXT,
    PackagingRequest::CONTEXT,
];

/// Without the keys.
impl core::fmt::Debug for Transcript {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Transcript")
            .field("operator", &self.profile.name)
            .field("exchanges", &self.exchanges.len())
            .finish_non_exhaustive()
    }
}

impl Key {
    fn open(self) -> Result<KeyPair, Error> {
        let suite = Suite::from_number(self.suite);
        let key = hex::decode(&self.private_key).map(SecretBytes::new).ok();
        suite
            .zip(key)
            .and_then(|(suite, key)| KeyPair::from_private(suite, key).ok())
            .ok_or(Error::Transcript("one of its keys is none"))
    }
}

impl core::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

mod seconds {
    use keyward_license::time::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        time.0.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp)
    }
}
