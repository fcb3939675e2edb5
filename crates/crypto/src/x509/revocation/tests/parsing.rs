//! What is read as a list.
#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use const_oid::ObjectIdentifier;
use der::asn1::OctetString;
use x509_cert::{Version, certificate::Rfc5280, ext::Extension, serial_number::SerialNumber};

use super::*;

#[test]
fn every_flipped_bit_of_a_list_is_noticed() {
    let pki = Pki::new(1);
    let (root, list) = (pki.root.list(1, &[]), pki.authority.list(1, &[]));
    assert_eq!(
        verdict(&pki, &[root.clone(), list.clone()], Refuse, 5 * DAY),
        Ok(())
    );
    for position in 0..list.der().len() {
        let mut der = list.der().to_vec();
        *der.get_mut(position).unwrap() ^= 1;
        if let Ok(flipped) = RevocationList::parse(&der) {
            assert!(
                flipped.verify(&pki.authority.certificate).is_err(),
                "byte {position}"
            );
            assert!(
                verdict(&pki, &[root.clone(), flipped], Refuse, 5 * DAY).is_err(),
                "byte {position}"
            );
        }
        assert!(RevocationList::parse(list.der().get(..position).unwrap()).is_err());
    }
    assert!(RevocationList::parse(&[list.der(), &[0]].concat()).is_err());
}

fn extension(oid: &str, critical: bool, value: &[u8]) -> Extension {
    Extension {
        extn_id: ObjectIdentifier::new(oid).unwrap(),
        critical,
        extn_value: OctetString::new(value).unwrap(),
    }
}

fn add(list: &mut CertificateList, added: Extension) {
    list.tbs_cert_list.crl_extensions.as_mut().unwrap().push(added);
}

fn remove(list: &mut CertificateList, oid: &str) {
    let extensions = list.tbs_cert_list.crl_extensions.as_mut().unwrap();
    extensions.retain(|extension| extension.extn_id != ObjectIdentifier::new(oid).unwrap());
}

fn entry(list: &mut CertificateList) -> &mut x509_cert::crl::RevokedCert {
    let entries = list.tbs_cert_list.revoked_certificates.as_mut().unwrap();
    entries.first_mut().unwrap()
}

const CRL_NUMBER: &str = "2.5.29.20";
const AKI: &str = "2.5.29.35";
const IDP: &str = "2.5.29.28";
const UNKNOWN: &str = "2.25.1843534794.99";

/// What is altered, and why the list is refused.
type Malformed = (fn(&mut CertificateList), &'static str);

const MALFORMED: [Malformed; 23] = [
    (
        |list| list.tbs_cert_list.version = Version::V1,
        "not an RFC 5280 list",
    ),
    (
        |list| list.tbs_cert_list.next_update = None,
        "not an RFC 5280 list",
    ),
    (
        |list| list.tbs_cert_list.next_update = Some(list.tbs_cert_list.this_update),
        "the next update is not after this one",
    ),
    (
        |list| list.tbs_cert_list.crl_extensions = None,
        "not an RFC 5280 list",
    ),
    (
        |list| add(list, extension(UNKNOWN, true, &[5, 0])),
        "not an RFC 5280 list",
    ),
    // A list of changes since list 1 (§5.2.4).
    (
        |list| add(list, extension("2.5.29.27", true, &[2, 1, 1])),
        "not an RFC 5280 list",
    ),
    // Indirect; of authorities only; of key compromises only; with a distribution point (§5.2.5).
    (
        |list| add(list, extension(IDP, true, &[0x30, 3, 0x84, 1, 0xff])),
        "not an RFC 5280 list",
    ),
    (
        |list| add(list, extension(IDP, true, &[0x30, 3, 0x82, 1, 0xff])),
        "not an RFC 5280 list",
    ),
    (
        |list| add(list, extension(IDP, true, &[0x30, 4, 0x83, 2, 6, 0x40])),
        "not an RFC 5280 list",
    ),
    (
        |list| add(list, extension(IDP, true, &DISTRIBUTION_POINT)),
        "a critical extension",
    ),
    (
        |list| add(list, extension(IDP, false, &DISTRIBUTION_POINT)),
        "not of all certificates",
    ),
    (|list| remove(list, CRL_NUMBER), "no number"),
    (
        |list| {
            remove(list, CRL_NUMBER);
            add(list, extension(CRL_NUMBER, true, &[2, 1, 1]))
        },
        "a critical extension",
    ),
    (
        |list| {
            remove(list, CRL_NUMBER);
            add(list, extension(CRL_NUMBER, false, &[2, 1, 0x80]))
        },
        "not an RFC 5280 list",
    ),
    (
        |list| {
            remove(list, CRL_NUMBER);
            add(list, extension(CRL_NUMBER, false, &LONG_NUMBER))
        },
        "not an RFC 5280 list",
    ),
    (
        |list| add(list, extension(CRL_NUMBER, false, &[2, 1, 9])),
        "an extension twice",
    ),
    (|list| remove(list, AKI), "no authority key identifier"),
    (
        |list| {
            remove(list, AKI);
            add(list, extension(AKI, false, &[0x30, 0]))
        },
        "authority key identifier",
    ),
    (
        |list| {
            remove(list, AKI);
            add(list, extension(AKI, true, &[0x30, 4, 0x80, 2, 1, 2]))
        },
        "a critical extension",
    ),
    (
        |list| entry(list).crl_entry_extensions = Some(vec![extension(UNKNOWN, true, &[5, 0])]),
        "an entry",
    ),
    // The certificate of another issuer (§5.3.3).
    (
        |list| entry(list).crl_entry_extensions = Some(vec![extension("2.5.29.29", true, &[0x30, 0])]),
        "an entry",
    ),
    (
        |list| {
            let entry = entry(list).clone();
            list.tbs_cert_list
                .revoked_certificates
                .as_mut()
                .unwrap()
                .push(entry)
        },
        "a certificate twice",
    ),
    (
        |list| list.signature_algorithm.oid = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"),
        "not an RFC 5280 list",
    ),
];

#[test]
fn malformed_lists_are_refused_though_well_signed() {
    let pki = Pki::new(1);
    let key = &pki.authority.key;
    let good = RevocationList::parse(&altered(&pki, key, |_| ())).unwrap();
    assert_eq!(good.verify(&pki.authority.certificate), Ok(()));
    for (index, (alter, why)) in MALFORMED.into_iter().enumerate() {
        let parsed = RevocationList::parse(&altered(&pki, key, alter));
        assert_eq!(
            parsed.unwrap_err(),
            CryptoError::MalformedRevocationList(why),
            "{index}"
        );
    }
    let sha384 = altered(&pki, key, |list| {
        let oid = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
        list.signature_algorithm.oid = oid;
        list.tbs_cert_list.signature.oid = oid;
    });
    let parsed = RevocationList::parse(&sha384).unwrap_err();
    assert_eq!(
        parsed,
        CryptoError::MalformedRevocationList("signature algorithm")
    );
}

#[test]
fn what_a_list_may_hold_besides_is_ignored() {
    let pki = Pki::new(1);
    let der = altered(&pki, &pki.authority.key, |list| {
        add(list, extension(UNKNOWN, false, &[5, 0]));
        let entry = entry(list);
        entry.crl_entry_extensions = Some(vec![extension(UNKNOWN, false, &[5, 0])]);
    });
    let list = RevocationList::parse(&der).unwrap();
    assert_eq!((list.der(), list.len()), (&der[..], 1));
    let lists = [pki.root.list(1, &[]), list];
    assert_eq!(verdict(&pki, &lists, Refuse, 5 * DAY), Err(ChainFault::Revoked));
}

#[test]
fn numbers_have_twenty_bytes() {
    let pki = Pki::new(1);
    let number = |value: &[u8]| {
        let der = altered(&pki, &pki.authority.key, |list| {
            remove(list, CRL_NUMBER);
            add(list, extension(CRL_NUMBER, false, value));
        });
        *RevocationList::parse(&der).unwrap().number()
    };
    let largest = [&[2, 21, 0][..], &[0xff; 20]].concat();
    assert_eq!(number(&largest), [0xff; 20]);
    assert_eq!(number(&[2, 1, 0]), [0; 20]);
    let mut padded = [0; 20];
    *padded.last_mut().unwrap() = 0x80;
    assert_eq!(number(&[2, 2, 0, 0x80]), padded);
}

#[test]
fn a_serial_number_is_named_as_path_validation_reads_it() {
    let pki = Pki::new(1);
    for serial in [&[1][..], &[0x7f; 20], &[0, 0x80], &[0, 0xff, 0xff]] {
        let [leaf, ..] = pki.odd(Which::Leaf, |params| {
            params.serial_number = Some(rcgen::SerialNumber::from_slice(serial));
        });
        let certificate = Certificate::parse(&leaf).unwrap();
        let der = pki_types::CertificateDer::from(&leaf[..]);
        let library = webpki::EndEntityCert::try_from(&der).unwrap();
        assert_eq!((certificate.serial(), library.serial()), (serial, serial));
        let list = pki.authority.list(1, &[revoked(&certificate, DAY)]);
        assert_eq!(list.revoked_since(serial), Some(DAY));
        assert_eq!(
            SerialNumber::<Rfc5280>::new(serial)
                .unwrap()
                .to_der()
                .unwrap()
                .get(2..),
            Some(serial)
        );
    }
}

proptest! {
    #[test]
    fn bytes_that_are_no_list_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(RevocationList::parse(&bytes).is_err());
    }
}

/// An integer of 21 bytes.
const LONG_NUMBER: [u8; 23] = *b"\x02\x15\x01abcdefghijklmnopqrst";
/// `http://a`, as the full name of a distribution point.
const DISTRIBUTION_POINT: [u8; 16] = *b"\x30\x0e\xa0\x0c\xa0\x0a\x86\x08http://a";
