//! Path validation against the x509-limbo suite: every case runs through the function that judges signers.
//! Only the role is another one, since no certificate of the suite has a role of ours: the usage that the
//! case asks for, or any. With our roles every case must be refused.
//!
//! The suite judges servers of the web, so some of its verdicts are not ours. Each such case stands in
//! [`OTHERWISE`] with the reason, which is checked where a program can. A case that stands there and is
//! judged as the suite demands fails the test too.
//!
//! `KEYWARD_VECTORS` names the folder of the suite; without it the folder `../shared/vectors` beside the
//! repository is tried.

use core::str::FromStr;
use std::{fs, path::PathBuf};

use pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, pem::PemObject};
use serde_json::Value;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};

use super::{
    Anchor, Role, path,
    revocation::{RevocationList, UnknownStatus},
};
use crate::{CryptoError, ecdsa::PublicKey};

/// Cases that the suite has, and those of them that we accept and that we refuse as it demands.
const COUNTS: [usize; 3] = [208, 36, 110];

/// Why a verdict of the suite is not ours.
#[derive(Debug, Clone, Copy)]
enum Because {
    /// Refused: a key of the chain is not on P-256. Checked: there is such a key.
    OtherKey,
    /// Accepted: the leaf is good, but not for the name of the server that was asked. Signers are no
    /// servers; who they are stands in their roles and claims. Checked: the leaf is not valid for the name.
    ServerName,
    /// Refused: stricter than RFC 5280, in words.
    Stricter(&'static str),
    /// Accepted: outside of RFC 5280 or of what is judged, in words.
    NotJudged(&'static str),
}

const OTHERWISE: [(Because, &[&str]); 14] = [
    (
        Because::OtherKey,
        &[
            "webpki::cryptographydotio-chain",
            "online::google.com",
            "online::aws.amazon.com",
            "online::fastly.com",
            "online::apple.com",
            "online::stackoverflow.com",
            "online::microsoft.com",
            "online::cloudflare.com",
            "online::facebook.com",
            "online::amazon.com",
            "online::s3.amazonaws.com",
            "online::akamai.com",
            "online::storage.googleapis.com",
            "online::docs.python.org",
            "online::bing.com",
        ],
    ),
    (
        Because::ServerName,
        &[
            "rfc5280::san::ip-in-dns",
            "webpki::san::mismatch-domain-san",
            "webpki::san::mismatch-subdomain-san",
            "webpki::san::mismatch-subdomain-apex-san",
            "webpki::san::mismatch-apex-subdomain-san",
            "webpki::san::wildcard-embedded-leftmost-san",
            "webpki::san::wildcard-not-in-leftmost-san",
            "webpki::san::wildcard-match-across-labels-san",
            "webpki::san::wildcard-embedded-ulabel-san",
            "webpki::san::unicode-emoji-san",
            "webpki::san::no-san",
            "webpki::san::san-wildcard-only",
            "webpki::san::san-wildcard-only-tld",
        ],
    ),
    (
        Because::NotJudged("how names of servers are written"),
        &[
            "rfc5280::san::underscore-dns",
            "webpki::cn::ipv4-hex-mismatch",
            "webpki::cn::ipv4-leading-zeros-mismatch",
            "webpki::cn::ipv6-uppercase-mismatch",
            "webpki::cn::ipv6-uncompressed-mismatch",
            "webpki::cn::ipv6-non-rfc5952-mismatch",
            "webpki::cn::punycode-not-in-san",
            "webpki::cn::utf8-vs-punycode-mismatch",
            "webpki::cn::not-in-san",
            "webpki::cn::case-mismatch",
            "webpki::san::public-suffix-wildcard-san",
            "webpki::san::public-suffix-multi-label-wildcard-san",
            "webpki::san::public-suffix-private-namespace-wildcard-san",
            "webpki::san::san-critical-with-nonempty-subject",
        ],
    ),
    (
        Because::NotJudged(
            "extended key usages of the web: RFC 5280 §4.2.1.12 permits these, a role refuses them",
        ),
        &[
            "webpki::eku::ee-anyeku",
            "webpki::eku::ee-critical-eku",
            "webpki::eku::ee-without-eku",
            "webpki::eku::root-has-eku",
        ],
    ),
    (
        Because::NotJudged("authority information access, not critical, which nobody of ours follows"),
        &["webpki::malformed-aia"],
    ),
    (
        Because::NotJudged("whether the root has expired: replacing it is configuration"),
        &["rfc5280::validity::expired-root"],
    ),
    (
        Because::NotJudged(
            "a depth that the caller sets: ours is fixed, and authorities limit what is below them",
        ),
        &[
            "pathlen::max-chain-depth-0-exhausted",
            "pathlen::max-chain-depth-1-exhausted",
        ],
    ),
    (
        Because::Stricter("an authority is no signer"),
        &[
            "pathlen::validation-ignores-pathlen-in-leaf",
            "rfc5280::ca-as-leaf",
        ],
    ),
    (
        Because::Stricter("a self-issued certificate counts for the path length as any other"),
        &["pathlen::self-issued-certs-pathlen"],
    ),
    (
        Because::Stricter("name constraints hold for self-issued certificates too"),
        &["rfc5280::nc::permitted-self-issued"],
    ),
    (
        Because::Stricter("name constraints are critical, as RFC 5280 §4.2.1.10 demands"),
        &["webpki::nc::permitted-dns-match-noncritical"],
    ),
    (
        Because::Stricter("constraints of directory names are refused, not understood"),
        &["rfc5280::nc::permitted-dn-match"],
    ),
    (
        Because::Stricter("constraints of e-mail addresses are refused, not understood"),
        &[
            "rfc5280::nc::nc-permits-email-exact",
            "rfc5280::nc::nc-permits-email-domain",
            "rfc5280::nc::nc-permits-email-literal-asterisk-exact-match",
            "rfc5280::nc::nc-permits-email-literal-double-asterisk",
            "rfc5280::nc::nc-permits-email-literal-mid-asterisk",
        ],
    ),
    (
        Because::Stricter(
            "the leaf has no common name, and the root, issued by another, does not name its key",
        ),
        &["cve::cve-2024-0567"],
    ),
];

#[test]
fn every_case_has_its_verdict() {
    let Some(suite) = suite() else { return };
    let cases = suite["testcases"].as_array().unwrap();
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for case in cases {
        let case = Case::read(case);
        let verdict = case.judge();
        let agreed = verdict.is_ok() == case.valid;
        match (agreed, case.otherwise()) {
            (true, None) if case.valid => accepted += 1,
            (true, None) => refused += 1,
            (false, Some(because)) if case.bears_out(because) => {}
            (_, because) => wrong.push(format!(
                "{}: valid {}, {verdict:?}, {because:?}",
                case.id, case.valid
            )),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} judged wrongly:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let listed = OTHERWISE.iter().map(|(_, ids)| ids.len()).sum::<usize>();
    assert_eq!([cases.len(), accepted, refused], COUNTS);
    assert_eq!(
        accepted + refused + listed,
        cases.len(),
        "a listed case is not in the suite"
    );
}

#[test]
fn no_case_has_a_role() {
    let Some(suite) = suite() else { return };
    for case in suite["testcases"].as_array().unwrap() {
        let case = Case::read(case);
        for anchor in case.anchors().flatten() {
            for role in Role::ALL {
                let verdict = anchor.verify(&case.chain, role, case.at);
                assert!(verdict.is_err(), "{} as {role:?}", case.id);
            }
        }
    }
}

/// A case, as far as we look at it.
struct Case {
    id: String,
    valid: bool,
    roots: Vec<Vec<u8>>,
    /// The leaf, then the others.
    chain: Vec<Vec<u8>>,
    /// `None` where the case is not about revocation.
    lists: Option<Vec<RevocationList>>,
    usage: Option<KeyUsage>,
    at: u64,
    server: Option<String>,
}

impl Case {
    fn read(case: &Value) -> Self {
        let ders = |name: &str| case[name].as_array().unwrap().iter().map(certificate);
        let lists = case["crls"].as_array().unwrap();
        let usages = case["extended_key_usage"].as_array().unwrap();
        Self {
            id: case["id"].as_str().unwrap().into(),
            valid: case["expected_result"] == "SUCCESS",
            roots: ders("trusted_certs").collect(),
            chain: core::iter::once(certificate(&case["peer_certificate"]))
                .chain(ders("untrusted_intermediates"))
                .collect(),
            // A list that is not well-formed is not given to an anchor.
            lists: (!lists.is_empty()).then(|| lists.iter().filter_map(list).collect()),
            usage: usages.first().map(|usage| match usage.as_str().unwrap() {
                "serverAuth" => KeyUsage::server_auth(),
                "clientAuth" => KeyUsage::client_auth(),
                other => unreachable!("usage {other}"),
            }),
            at: case["validation_time"].as_str().map_or(SOME_TIME, seconds),
            server: case["expected_peer_name"]["value"].as_str().map(Into::into),
        }
    }

    /// One anchor for each root, as far as it can be one.
    fn anchors(&self) -> impl Iterator<Item = Result<Anchor, CryptoError>> {
        self.roots.iter().map(|root| {
            let anchor = Anchor::from_der(root)?;
            Ok(match self.lists.clone() {
                Some(lists) => anchor.with_revocation(lists, UnknownStatus::Refuse),
                None => anchor,
            })
        })
    }

    /// Accepted if any of the roots leads to the leaf. Else what each of them says.
    fn judge(&self) -> Result<(), Vec<CryptoError>> {
        let mut errors = Vec::new();
        for anchor in self.anchors() {
            let verdict = anchor.and_then(|anchor| match self.usage {
                Some(usage) => path::validate(&anchor, &self.chain, usage, self.at),
                None => path::validate(&anchor, &self.chain, AnyUsage, self.at),
            });
            match verdict {
                Ok(leaf) => {
                    assert_eq!(leaf.der(), self.chain[0]);
                    return Ok(());
                }
                Err(error) => errors.push(error),
            }
        }
        Err(errors)
    }

    fn otherwise(&self) -> Option<Because> {
        let found = OTHERWISE.iter().find(|(_, ids)| ids.contains(&&*self.id));
        found.map(|(because, _)| *because)
    }

    /// Whether the reason is one for this case.
    fn bears_out(&self, because: Because) -> bool {
        match because {
            Because::OtherKey => self.valid && self.has_other_key(),
            Because::ServerName => !self.valid && !self.is_for_server(),
            Because::Stricter(why) => self.valid && !why.is_empty(),
            Because::NotJudged(what) => !self.valid && !what.is_empty(),
        }
    }

    fn has_other_key(&self) -> bool {
        self.roots.iter().chain(&self.chain).any(|der| {
            let der = CertificateDer::from(&der[..]);
            let certificate = EndEntityCert::try_from(&der).unwrap();
            PublicKey::from_spki_der(&certificate.subject_public_key_info()).is_err()
        })
    }

    fn is_for_server(&self) -> bool {
        let der = CertificateDer::from(&self.chain[0][..]);
        let leaf = EndEntityCert::try_from(&der).unwrap();
        let name = self.server.as_deref().map(ServerName::try_from);
        matches!(name, Some(Ok(name)) if leaf.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

/// What a case judges that names no usage.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn certificate(pem: &Value) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_str().unwrap().as_bytes())
        .unwrap()
        .to_vec()
}

fn list(pem: &Value) -> Option<RevocationList> {
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_str().unwrap().as_bytes()).unwrap();
    RevocationList::parse(&der).ok()
}

/// Whole seconds of an RFC 3339 time in UTC: certificates know no fractions.
fn seconds(time: &str) -> u64 {
    let (whole, _) = time.split_at("2024-03-01T00:00:00".len());
    let time = der::DateTime::from_str(&format!("{whole}Z")).unwrap();
    time.unix_duration().as_secs()
}

fn suite() -> Option<Value> {
    let path = folder()?.join("x509-limbo/limbo-no-bettertls.json");
    Some(serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
}

/// The folder of other people's vectors, or `None`, which is said aloud.
#[expect(
    clippy::disallowed_methods,
    reason = "the test set-up names the folder in the environment"
)]
fn folder() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("KEYWARD_VECTORS")
        .map(PathBuf::from)
        .or_else(|| beside.is_dir().then_some(beside));
    if folder.is_none() {
        eprintln!("*** conformance suite: NOT RUN, set KEYWARD_VECTORS ***");
    }
    folder
}

/// For cases without a time: 2026-01-01, at which all of those certificates are valid that ever are.
const SOME_TIME: u64 = 1_767_225_600;
