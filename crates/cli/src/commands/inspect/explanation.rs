//! What was found, told once: words for people and JSON for programs are made from the same fields.

mod words;

use std::fmt::Display;

use keyward_license::{ids::Digest, time::Timestamp};
use serde_json::{Map, json};

use crate::report;
use words::Lines;

/// What something is, what it says, and whether that may be believed.
pub(super) struct Explanation {
    kind: Kind,
    bytes: u64,
    encoding: Option<&'static str>,
    standing: Standing,
    /// What it says.
    fields: Fields,
    /// What nothing above says.
    not_checked: Vec<&'static str>,
    /// What was sealed in it.
    inside: Option<Box<Self>>,
}

/// Whether the fields may be believed.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    /// Signature, signer and form were checked.
    Verified {
        operator: Digest,
        operator_name: String,
        at: Timestamp,
    },
    /// Anyone may have written it.
    Unverified { reason: String },
}

impl Standing {
    pub(super) fn unverified(reason: impl Display) -> Self {
        Self::Unverified {
            reason: reason.to_string(),
        }
    }
}

impl Explanation {
    pub(super) const fn new(kind: Kind, bytes: u64, standing: Standing, fields: Fields) -> Self {
        Self {
            kind,
            bytes,
            encoding: None,
            standing,
            fields,
            not_checked: Vec::new(),
            inside: None,
        }
    }

    /// Adds what the fields do not say.
    pub(super) fn not_checked(mut self, what: &[&'static str]) -> Self {
        self.not_checked.extend_from_slice(what);
        self
    }

    /// Adds what was sealed in it.
    pub(super) fn inside(mut self, message: Option<Self>) -> Self {
        self.inside = message.map(Box::new);
        self
    }

    /// Says that it was text, and of which kind.
    pub(super) const fn encoded(mut self, encoding: &'static str) -> Self {
        self.encoding = Some(encoding);
        self
    }

    pub(super) fn to_words(&self) -> String {
        let mut lines = Lines::default();
        lines.explanation(0, self);
        lines.into_text()
    }

    pub(super) fn to_json(&self) -> Map<String, serde_json::Value> {
        let mut json = Map::new();
        let mut put = |key: &str, value| drop(json.insert(key.to_owned(), value));
        put("kind", json!(self.kind.name()));
        put("bytes", json!(self.bytes));
        put("encoding", json!(self.encoding));
        let fields = self.fields.to_json();
        match &self.standing {
            Standing::Verified {
                operator,
                operator_name,
                at,
            } => {
                put("standing", json!("verified"));
                put("operator", json!(operator.to_string()));
                put("operator_name", json!(operator_name));
                put("verified_at", json!(at.0));
                put("verified", fields);
            }
            Standing::Unverified { reason } => {
                put("standing", json!("unverified"));
                put("reason", json!(reason));
                put("unverified", fields);
            }
        }
        put("not_checked", json!(self.not_checked));
        if let Some(inside) = &self.inside {
            put("inside", inside.to_json().into());
        }
        json
    }
}

/// What can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ProtectedFile,
    Mp4,
    Pssh,
    PlayReadyObject,
    PlayReadyHeader,
    License,
    LicenseRequest,
    LicenseResponse,
    EnrolmentRequest,
    EnrolmentResponse,
    PackagingRequest,
    PackagingResponse,
    AcknowledgeRequest,
    Receipt,
    Discovery,
    SignedMessage,
    SealedRequest,
    SealedResponse,
    OperatorProfile,
    RevocationLists,
    CertificateRevocationList,
    DeviceRevocationList,
    Problem,
    Certificates,
}

impl Kind {
    /// The name in JSON.
    const fn name(self) -> &'static str {
        match self {
            Self::ProtectedFile => "protected_file",
            Self::Mp4 => "mp4",
            Self::Pssh => "pssh",
            Self::PlayReadyObject => "playready_object",
            Self::PlayReadyHeader => "playready_header",
            Self::License => "license",
            Self::LicenseRequest => "license_request",
            Self::LicenseResponse => "license_response",
            Self::EnrolmentRequest => "enrolment_request",
            Self::EnrolmentResponse => "enrolment_response",
            Self::PackagingRequest => "packaging_request",
            Self::PackagingResponse => "packaging_response",
            Self::AcknowledgeRequest => "acknowledge_request",
            Self::Receipt => "receipt",
            Self::Discovery => "discovery_document",
            Self::SignedMessage => "signed_message",
            Self::SealedRequest => "sealed_request",
            Self::SealedResponse => "sealed_response",
            Self::OperatorProfile => "operator_profile",
            Self::RevocationLists => "revocation_lists",
            Self::CertificateRevocationList => "certificate_revocation_list",
            Self::DeviceRevocationList => "device_revocation_list",
            Self::Problem => "problem_document",
            Self::Certificates => "certificates",
        }
    }

    /// The name for people.
    fn words(self) -> String {
        match self {
            Self::Mp4 => "MP4".to_owned(),
            Self::Pssh => "pssh boxes".to_owned(),
            Self::PlayReadyObject => "PlayReady Object".to_owned(),
            Self::PlayReadyHeader => "PlayReady Header".to_owned(),
            other => other.name().replace('_', " "),
        }
    }
}

/// Named values in their order.
#[derive(Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Adds a field.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// Adds fields.
    pub(super) fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// Adds what a reader would refuse, for a list that may be empty.
    pub(super) fn faults(self, faults: impl IntoIterator<Item = String>) -> Self {
        self.with(
            "faults",
            Value::List(faults.into_iter().map(Value::Plain).collect()),
        )
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let entries = self
            .0
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_json()));
        serde_json::Value::Object(entries.collect())
    }
}

/// One value of a field.
pub(super) enum Value {
    /// There is none: null in JSON, no line in words.
    Absent,
    /// Text of this program, an id or a number.
    Plain(String),
    /// Text of a stranger.
    Foreign(String),
    Number(u64),
    Flag(bool),
    /// A size in bytes.
    Size(u64),
    Time(Timestamp),
    /// What has other words for people than for programs.
    Said(serde_json::Value, String),
    List(Vec<Self>),
    Fields(Fields),
    Explained(Box<Explanation>),
}

/// An id, or a word of this program.
pub(super) fn plain(text: impl Display) -> Value {
    Value::Plain(text.to_string())
}

/// Text of a stranger.
pub(super) fn foreign(text: &str) -> Value {
    Value::Foreign(text.to_owned())
}

/// A size.
pub(super) fn size(bytes: &[u8]) -> Value {
    Value::Size(length(bytes))
}

/// How many bytes these are.
pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What has other words for people than for programs.
pub(super) fn said(json: impl Into<serde_json::Value>, words: impl Display) -> Value {
    Value::Said(json.into(), words.to_string())
}

/// A list.
pub(super) fn list<T>(items: impl IntoIterator<Item = T>, value: impl FnMut(T) -> Value) -> Value {
    Value::List(items.into_iter().map(value).collect())
}

impl Value {
    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Absent => serde_json::Value::Null,
            Self::Plain(text) | Self::Foreign(text) => json!(text),
            Self::Number(number) | Self::Size(number) => json!(number),
            Self::Flag(flag) => json!(flag),
            Self::Time(time) => json!(time.0),
            Self::Said(json, _) => json.clone(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Fields(fields) => fields.to_json(),
            Self::Explained(explanation) => explanation.to_json().into(),
        }
    }

    /// The words, if they fit behind the name.
    fn inline(&self) -> Option<String> {
        Some(match self {
            Self::Plain(text) | Self::Said(_, text) => text.clone(),
            Self::Foreign(text) => report::quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(true) => "yes".to_owned(),
            Self::Flag(false) => "no".to_owned(),
            Self::Size(1) => "1 byte".to_owned(),
            Self::Size(bytes) => format!("{bytes} bytes"),
            Self::Time(time) => report::time(*time),
            Self::List(items) if items.is_empty() => "none".to_owned(),
            Self::List(items) => {
                let words: Option<Vec<String>> = items.iter().map(Self::inline).collect();
                words
                    .map(|words| words.join(", "))
                    .filter(|line| line.chars().count() <= LONGEST_LINE)?
            }
            Self::Fields(Fields(fields)) if fields.is_empty() => "none".to_owned(),
            Self::Absent | Self::Fields(_) | Self::Explained(_) => return None,
        })
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Fields(fields)
    }
}

impl From<Explanation> for Value {
    fn from(explanation: Explanation) -> Self {
        Self::Explained(Box::new(explanation))
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

/// Longest list that stands in one line, in characters.
const LONGEST_LINE: usize = 72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_json_say_the_same() {
        let item = |name: &str| Value::Fields(Fields::default().with("kid", plain(name)).with("good", true));
        let fields = Fields::default()
            .with("name", foreign("a\u{1b}[31m\n\u{202e}b\"c"))
            .with("header_bytes", size(&[0; 7]))
            .with("issued", Timestamp(1_800_000_000))
            .with("end", None::<Timestamp>)
            .with("items", list(["aa", "bb"], item))
            .with("none", list([], item))
            .with("numbers", list([1, 2_u64], Value::from));
        let inner = Explanation::new(
            Kind::License,
            1,
            Standing::unverified("so"),
            Fields::default().with("id", 4),
        );
        let found = Explanation::new(
            Kind::SealedRequest,
            9,
            Standing::Verified {
                operator: Digest::new([7; 32]),
                operator_name: "ours".to_owned(),
                at: Timestamp(0),
            },
            fields,
        )
        .encoded("base64")
        .not_checked(&["this"])
        .inside(Some(inner));
        let operator = "07".repeat(32);
        assert_eq!(
            found.to_words(),
            format!(
                r#"sealed request, 9 bytes, from base64 text
  verified under operator {operator} ("ours"), at 1970-01-01T00:00:00Z
    name     "a\u{{1b}}[31m\n\u{{202e}}b\"c"
    header   7 bytes
    issued   2027-01-15T08:00:00Z
    items
      - key id  aa
        good    yes
      - key id  bb
        good    yes
    none     none
    numbers  1, 2
  not checked
    this
  inside
    license, 1 byte
      unverified: so
        id  4"#
            )
        );
        let expected = json!({
            "kind": "sealed_request", "bytes": 9, "encoding": "base64", "standing": "verified",
            "operator": operator, "operator_name": "ours", "verified_at": 0, "not_checked": ["this"],
            "verified": {
                "name": "a\u{1b}[31m\n\u{202e}b\"c", "header_bytes": 7, "issued": 1_800_000_000, "end": null,
                "items": [{"kid": "aa", "good": true}, {"kid": "bb", "good": true}], "none": [],
                "numbers": [1, 2],
            },
            "inside": {
                "kind": "license", "bytes": 1, "encoding": null, "standing": "unverified", "reason": "so",
                "not_checked": [], "unverified": {"id": 4},
            },
        });
        assert_eq!(serde_json::Value::Object(found.to_json()), expected);
    }
}
