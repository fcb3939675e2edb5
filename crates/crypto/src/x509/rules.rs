//! What RFC 5280 §4 demands of single certificates where path validation alone would let them pass.
//!
//! The section addresses those who issue. An authority that does not keep to it is not one that an operator
//! of ours set up, so here its certificates are refused.

use const_oid::{
    ObjectIdentifier,
    db::rfc5280::{
        ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_INHIBIT_ANY_POLICY, ID_CE_KEY_USAGE,
        ID_CE_NAME_CONSTRAINTS, ID_CE_POLICY_CONSTRAINTS, ID_CE_SUBJECT_KEY_IDENTIFIER,
    },
};
use der::Decode;
use pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_cert::ext::{
    Extension,
    pkix::{
        AuthorityKeyIdentifier, BasicConstraints, KeyUsage, NameConstraints, SubjectKeyIdentifier,
        name::GeneralName,
    },
};

use crate::{CryptoError, ecdsa::PublicKey};

/// Checks the certificate of a holder of roles.
pub(super) fn check_leaf(der: &[u8]) -> Result<(), CryptoError> {
    let extensions = Extensions::read(der)?;
    extensions.authority_key_identifier()?;
    if extensions.find(ID_CE_NAME_CONSTRAINTS).is_some() {
        return Err(malformed("name constraints of a leaf (RFC 5280 §4.2.1.10)"));
    }
    let usage: Option<KeyUsage> = extensions.value(ID_CE_KEY_USAGE)?;
    if usage.is_some_and(|usage| usage.key_cert_sign() || !usage.digital_signature()) {
        return Err(malformed("key usage of a leaf (RFC 5280 §4.2.1.3)"));
    }
    Ok(())
}

/// What of an authority's certificate matters to those who judge what it signed.
#[derive(Debug, Clone)]
pub(super) struct Issuer {
    /// Content of its DER Name.
    pub(super) name: Vec<u8>,
    pub(super) key: PublicKey,
    pub(super) key_identifier: Vec<u8>,
    /// Whether its key may sign revocation lists (RFC 5280 §6.3.3 (f)).
    pub(super) signs_lists: bool,
    is_self_issued: bool,
}

impl Issuer {
    /// Reads and checks the certificate that a party is configured with.
    pub(super) fn root(der: &[u8]) -> Result<Self, CryptoError> {
        let extensions = Extensions::read(der)?;
        let root = Self::read(der, &extensions)?;
        if !root.is_self_issued {
            extensions.authority_key_identifier()?;
            return Ok(root);
        }
        let itself: Option<AuthorityKeyIdentifier> = extensions.value(ID_CE_AUTHORITY_KEY_IDENTIFIER)?;
        let names_itself = itself.is_none_or(|authority| {
            let key = authority.key_identifier;
            authority.authority_cert_issuer.is_none()
                && authority.authority_cert_serial_number.is_none()
                && key.is_some_and(|key| key.as_bytes() == root.key_identifier)
        });
        if names_itself {
            Ok(root)
        } else {
            Err(malformed(
                "authority key identifier of a root (RFC 5280 §4.2.1.1)",
            ))
        }
    }

    /// Reads and checks the certificate of an authority that another one certified.
    pub(super) fn intermediate(der: &[u8]) -> Result<Self, CryptoError> {
        let extensions = Extensions::read(der)?;
        extensions.authority_key_identifier()?;
        Self::read(der, &extensions)
    }

    /// Reads and checks the certificate of a root or an intermediate.
    pub(super) fn authority(der: &[u8]) -> Result<Self, CryptoError> {
        Self::read(der, &Extensions::read(der)?)
    }

    fn read(der: &[u8], extensions: &Extensions) -> Result<Self, CryptoError> {
        let certificate = CertificateDer::from(der);
        let certificate = EndEntityCert::try_from(&certificate).map_err(|_| malformed("not X.509"))?;
        if certificate.subject().is_empty() {
            return Err(malformed("an authority without a name (RFC 5280 §4.1.2.6)"));
        }
        extensions.check_basic_constraints()?;
        extensions.check_name_constraints()?;
        let usage: Option<KeyUsage> = extensions.value(ID_CE_KEY_USAGE)?;
        if usage.as_ref().is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(malformed("key usage of an authority (RFC 5280 §4.2.1.3)"));
        }
        let identifier: Option<SubjectKeyIdentifier> = extensions.value(ID_CE_SUBJECT_KEY_IDENTIFIER)?;
        let identifier = identifier.ok_or(malformed("no subject key identifier (RFC 5280 §4.2.1.2)"))?;
        Ok(Self {
            is_self_issued: certificate.issuer() == certificate.subject(),
            name: certificate.subject().to_vec(),
            key: PublicKey::from_spki_der(&certificate.subject_public_key_info())?,
            key_identifier: identifier.0.as_bytes().to_vec(),
            signs_lists: usage.is_none_or(|usage| usage.crl_sign()),
        })
    }
}

/// The extensions of a certificate whose other fields are as they have to be.
struct Extensions(Vec<Extension>);

impl Extensions {
    fn read(der: &[u8]) -> Result<Self, CryptoError> {
        if der.len() > MAX_LEN {
            return Err(malformed("too long"));
        }
        let certificate = x509_cert::Certificate::from_der(der).map_err(|_| malformed("not X.509"))?;
        check_serial(&super::serial(&certificate)?)?;
        let extensions = Self(
            certificate
                .tbs_certificate()
                .extensions()
                .cloned()
                .unwrap_or_default(),
        );
        if extensions
            .0
            .iter()
            .any(|extension| extensions.count(extension.extn_id) != 1)
        {
            return Err(malformed("an extension twice (RFC 5280 §4.2)"));
        }
        // Certificate policies are not looked at, so a demand that they hold cannot be met.
        if extensions.count(ID_CE_POLICY_CONSTRAINTS) + extensions.count(ID_CE_INHIBIT_ANY_POLICY) != 0 {
            return Err(malformed("policy constraints"));
        }
        Ok(extensions)
    }

    fn count(&self, oid: ObjectIdentifier) -> usize {
        self.0.iter().filter(|extension| extension.extn_id == oid).count()
    }

    fn find(&self, oid: ObjectIdentifier) -> Option<&Extension> {
        self.0.iter().find(|extension| extension.extn_id == oid)
    }

    fn value<'a, T: Decode<'a>>(&'a self, oid: ObjectIdentifier) -> Result<Option<T>, CryptoError> {
        self.find(oid)
            .map(|extension| T::from_der(extension.extn_value.as_bytes()))
            .transpose()
            .map_err(|_| malformed("an extension is not DER"))
    }

    fn authority_key_identifier(&self) -> Result<(), CryptoError> {
        let authority: Option<AuthorityKeyIdentifier> = self.value(ID_CE_AUTHORITY_KEY_IDENTIFIER)?;
        authority
            .and_then(|authority| authority.key_identifier)
            .map(drop)
            .ok_or(malformed("no authority key identifier (RFC 5280 §4.2.1.1)"))
    }

    fn check_basic_constraints(&self) -> Result<(), CryptoError> {
        let constraints: Option<BasicConstraints> = self.value(ID_CE_BASIC_CONSTRAINTS)?;
        let critical = self
            .find(ID_CE_BASIC_CONSTRAINTS)
            .is_some_and(|extension| extension.critical);
        if critical && constraints.is_some_and(|constraints| constraints.ca) {
            Ok(())
        } else {
            Err(malformed("basic constraints of an authority (RFC 5280 §4.2.1.9)"))
        }
    }

    fn check_name_constraints(&self) -> Result<(), CryptoError> {
        let Some(extension) = self.find(ID_CE_NAME_CONSTRAINTS) else {
            return Ok(());
        };
        let constraints: Option<NameConstraints> = self.value(ID_CE_NAME_CONSTRAINTS)?;
        let subtrees = constraints.into_iter().flat_map(|constraints| {
            [constraints.permitted_subtrees, constraints.excluded_subtrees]
                .into_iter()
                .flatten()
        });
        let mut subtrees = subtrees.flatten().peekable();
        let sound = extension.critical
            && subtrees.peek().is_some()
            && subtrees.all(|subtree| match subtree.base {
                // The period that stands for subdomains is for URIs only.
                GeneralName::DnsName(name) => !name.as_str().starts_with('.'),
                _ => true,
            });
        if sound {
            Ok(())
        } else {
            Err(malformed("name constraints of an authority (RFC 5280 §4.2.1.10)"))
        }
    }
}

/// Positive and of at most 20 bytes (RFC 5280 §4.1.2.2).
pub(super) fn check_serial(serial: &[u8]) -> Result<(), CryptoError> {
    let positive = serial.first().is_some_and(|first| *first < 0x80) && serial.iter().any(|byte| *byte != 0);
    if positive && serial.len() <= 20 {
        Ok(())
    } else {
        Err(malformed("serial number (RFC 5280 §4.1.2.2)"))
    }
}

const fn malformed(what: &'static str) -> CryptoError {
    CryptoError::MalformedCertificate(what)
}

/// Longest certificate, in bytes. One with the sealing keys of both suites has less than 3000.
const MAX_LEN: usize = 16 << 10;

#[cfg(all(test, feature = "authority"))]
mod tests {
    use rcgen::{
        CertificateParams, CustomExtension, DistinguishedName, GeneralSubtree, IsCa, KeyUsagePurpose,
        NameConstraints, SerialNumber,
    };

    use super::*;
    use crate::{
        ChainFault,
        x509::{
            Anchor, Certificate,
            test_pki::{
                DAY, Pki, ROLE,
                Which::{self, Authority, Leaf, Root},
            },
        },
    };

    const ID_CE: [u64; 3] = [2, 5, 29];

    fn extension(number: u64, critical: bool, value: &[u8]) -> CustomExtension {
        let [a, b, c] = ID_CE;
        let mut extension = CustomExtension::from_oid_content(&[a, b, c, number], value.to_vec());
        extension.set_criticality(critical);
        extension
    }

    fn constrain(params: &mut CertificateParams, names: &[&str]) {
        let subtrees = names.iter().map(|name| GeneralSubtree::DnsName((*name).into()));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: subtrees.collect(),
            excluded_subtrees: Vec::new(),
        });
    }

    fn verify([leaf, authority, root]: [Vec<u8>; 3]) -> Result<Certificate, CryptoError> {
        Anchor::from_der(&root)?.verify(&[leaf, authority], ROLE, 5 * DAY)
    }

    #[test]
    fn what_keeps_to_the_rules_is_accepted() {
        let pki = Pki::new(1);
        assert!(verify(pki.odd(Leaf, |_| ())).is_ok());
        assert!(verify(pki.odd(Authority, |params| constrain(params, &["example.com"]))).is_ok());
        for which in [Root, Authority, Leaf] {
            let chain = pki.odd(which, |params| params.key_usages = Vec::new());
            assert!(verify(chain).is_ok(), "{which:?} without key usage");
        }
    }

    /// Whose certificate, what breaks the rule, and the rule.
    type Odd = (Which, fn(&mut CertificateParams), &'static str);

    const ODD: [Odd; 20] = [
        (
            Leaf,
            |params| params.use_authority_key_identifier_extension = false,
            "no authority key identifier (RFC 5280 §4.2.1.1)",
        ),
        (
            Authority,
            |params| params.use_authority_key_identifier_extension = false,
            "no authority key identifier (RFC 5280 §4.2.1.1)",
        ),
        (
            Root,
            |params| {
                params.use_authority_key_identifier_extension = false;
                params.custom_extensions = vec![extension(35, false, &OTHER_KEY)];
            },
            "authority key identifier of a root (RFC 5280 §4.2.1.1)",
        ),
        (
            Leaf,
            |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign),
            "key usage of a leaf (RFC 5280 §4.2.1.3)",
        ),
        (
            Leaf,
            |params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement],
            "key usage of a leaf (RFC 5280 §4.2.1.3)",
        ),
        (
            Authority,
            |params| params.key_usages = vec![KeyUsagePurpose::CrlSign],
            "key usage of an authority (RFC 5280 §4.2.1.3)",
        ),
        (
            Root,
            |params| params.key_usages = vec![KeyUsagePurpose::CrlSign],
            "key usage of an authority (RFC 5280 §4.2.1.3)",
        ),
        (
            Leaf,
            |params| params.custom_extensions = vec![extension(30, true, &NAMES)],
            "name constraints of a leaf (RFC 5280 §4.2.1.10)",
        ),
        (
            Authority,
            |params| params.custom_extensions = vec![extension(30, false, &NAMES)],
            "name constraints of an authority (RFC 5280 §4.2.1.10)",
        ),
        (
            Authority,
            |params| params.custom_extensions = vec![extension(30, true, &[0x30, 0x00])],
            "name constraints of an authority (RFC 5280 §4.2.1.10)",
        ),
        (
            Authority,
            |params| constrain(params, &[".example.com"]),
            "name constraints of an authority (RFC 5280 §4.2.1.10)",
        ),
        (
            Root,
            |params| {
                params.is_ca = IsCa::NoCa;
                params.custom_extensions = vec![extension(19, false, &AUTHORITY)];
            },
            "basic constraints of an authority (RFC 5280 §4.2.1.9)",
        ),
        (
            Root,
            |params| params.is_ca = IsCa::NoCa,
            "basic constraints of an authority (RFC 5280 §4.2.1.9)",
        ),
        (
            Root,
            |params| {
                params.is_ca = IsCa::NoCa;
                params.custom_extensions = vec![extension(19, true, &AUTHORITY)];
            },
            "no subject key identifier (RFC 5280 §4.2.1.2)",
        ),
        (
            Root,
            |params| params.distinguished_name = DistinguishedName::new(),
            "an authority without a name (RFC 5280 §4.1.2.6)",
        ),
        (
            Leaf,
            |params| params.serial_number = Some(SerialNumber::from(0_u64)),
            "serial number (RFC 5280 §4.1.2.2)",
        ),
        (
            Leaf,
            |params| params.serial_number = Some(SerialNumber::from_slice(&[0x7f; 21])),
            "serial number (RFC 5280 §4.1.2.2)",
        ),
        (
            Authority,
            |params| params.custom_extensions = vec![extension(36, false, &[0x30, 0x03, 0x80, 0x01, 0x00])],
            "policy constraints",
        ),
        (
            Leaf,
            |params| params.custom_extensions = vec![extension(99, false, &[5, 0]); 2],
            "an extension twice (RFC 5280 §4.2)",
        ),
        (
            Leaf,
            |params| params.custom_extensions = vec![extension(99, false, &[0; MAX_LEN])],
            "too long",
        ),
    ];

    #[test]
    fn each_rule_refuses_what_breaks_it() {
        let pki = Pki::new(1);
        for (which, alter, rule) in ODD {
            let [leaf, authority, root] = pki.odd(which, alter);
            let broken = match which {
                Leaf => check_leaf(&leaf).unwrap_err(),
                Authority => Issuer::intermediate(&authority).unwrap_err(),
                Root => Issuer::root(&root).unwrap_err(),
            };
            assert_eq!(broken, malformed(rule), "{which:?}");
            let verdict = verify([leaf, authority, root]).unwrap_err();
            // A root is refused when a party is configured with it.
            let expected = match which {
                Root => broken,
                Authority | Leaf => CryptoError::ChainRefused(ChainFault::Invalid),
            };
            assert_eq!(verdict, expected, "{which:?} {rule}");
        }
    }

    /// An authority key identifier and basic constraints.
    const OTHER_KEY: [u8; 6] = [0x30, 0x04, 0x80, 0x02, 1, 2];
    const AUTHORITY: [u8; 5] = [0x30, 0x03, 0x01, 0x01, 0xff];
    /// Permitted: example.com.
    const NAMES: [u8; 19] = *b"\x30\x11\xa0\x0f\x30\x0d\x82\x0bexample.com";
}
