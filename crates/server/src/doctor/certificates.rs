//! The operator's certificates: trusted, in use, and for how long.

use keyward_crypto::x509::{Anchor, Certificate, Role};
use keyward_license::{
    finding::{AHEAD, days},
    time::Timestamp,
};

use super::Finding;
use crate::store::{Purpose, sqlite::examination::Rows};

/// Judges chain and dates of each certificate in use.
pub(super) fn judge(rows: &Rows, now: Timestamp) -> Vec<Finding> {
    let Some(anchor) = rows.root.as_deref().and_then(|root| Anchor::from_der(root).ok()) else {
        return vec![Finding::error(
            "certificates",
            "the root certificate is missing or damaged",
            RESTORE,
        )];
    };
    let mut findings = vec![match Certificate::parse(anchor.der()) {
        Ok(root) => judge_dates("root", &root, now),
        Err(error) => Finding::error(
            "certificates",
            format!("the root certificate is damaged: {error}"),
            RESTORE,
        ),
    }];
    let newest = |purpose| rows.certificates.iter().find(|stored| stored.purpose == purpose);
    for purpose in Purpose::ALL {
        findings.push(match newest(purpose).map(|stored| Certificate::parse(&stored.der)) {
            Some(Ok(certificate)) => judge_dates(purpose.as_str(), &certificate, now),
            Some(Err(error)) => Finding::error(
                "certificates",
                format!("{} is damaged: {error}", purpose.as_str()),
                RESTORE,
            ),
            None if purpose == Purpose::PackagerAuthority => Finding::warning(
                "certificates",
                "there is no packager-authority: packagers cannot enrol",
                "operators made by this version have one; make the operator anew, or share its license key seed",
            ),
            None => Finding::error("certificates", format!("{} is missing", purpose.as_str()), RESTORE),
        });
    }
    let leaves = [
        (Purpose::LicenseServer, Role::LicenseServer),
        (Purpose::RequestEncryption, Role::RequestEncryption),
    ];
    for (purpose, role) in leaves {
        if let (Some(leaf), Some(authority)) = (newest(purpose), newest(Purpose::ServerAuthority)) {
            findings.extend(judge_chain(
                &anchor,
                purpose,
                role,
                &[leaf.der.clone(), authority.der.clone()],
            ));
        }
    }
    findings
}

/// Judges one certificate's dates. The server renews its own leaves; authorities end for good.
fn judge_dates(name: &str, certificate: &Certificate, now: Timestamp) -> Finding {
    let renewed = [Purpose::LicenseServer, Purpose::RequestEncryption]
        .iter()
        .any(|purpose| purpose.as_str() == name);
    let hint = if renewed {
        "start the server, which renews it, and look again; it cannot where the server-authority ends"
    } else {
        "make a new operator in time and enrol devices and packagers with it: this version renews no authority"
    };
    let left = certificate.not_after().saturating_sub(now.0);
    if now.0 < certificate.not_before() {
        let early = days(certificate.not_before().saturating_sub(now.0));
        let what = format!("{name} is not valid before {early} from now");
        return Finding::error("certificates", what, "set this machine's clock");
    }
    if now.0 > certificate.not_after() {
        let ago = days(now.0.saturating_sub(certificate.not_after()));
        return Finding::error("certificates", format!("{name} has ended {ago} ago"), hint);
    }
    if left < AHEAD {
        return Finding::warning("certificates", format!("{name} ends in {}", days(left)), hint);
    }
    Finding::good("certificates", format!("{name} is valid for {}", days(left)))
}

/// What is wrong with a leaf's chain; its dates are judged apart.
fn judge_chain(anchor: &Anchor, purpose: Purpose, role: Role, chain: &[Vec<u8>]) -> Option<Finding> {
    let leaf = chain.first().map(|der| Certificate::parse(der))?.ok()?;
    let refused = anchor.verify(chain, role, leaf.not_before()).err()?;
    let what = format!("{} is not trusted under the root: {refused}", purpose.as_str());
    Some(Finding::error("certificates", what, RESTORE))
}

const RESTORE: &str = "restore the newest backup: `keyward admin restore`";

#[cfg(test)]
mod tests {
    use keyward_crypto::{ecdsa::SigningKey, x509::issue};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::doctor::Standing;

    #[test]
    fn an_end_is_told_a_month_ahead() {
        let key = SigningKey::generate(&mut ChaCha20Rng::from_seed([1; 32]));
        let profile = issue::Profile {
            subject: "root",
            roles: &[],
            authority: Some(1),
            not_before: 10_000_000,
            not_after: 20_000_000,
            claims: None,
            serial: [1; 16],
        };
        let certificate = Certificate::parse(&issue::self_signed(&profile, &key).unwrap()).unwrap();
        for (now, standing) in [
            (9_999_999, Standing::Error),
            (10_000_000, Standing::Good),
            (20_000_000 - AHEAD, Standing::Good),
            (20_000_001 - AHEAD, Standing::Warning),
            (20_000_000, Standing::Warning),
            (20_000_001, Standing::Error),
        ] {
            let found = judge_dates("root", &certificate, Timestamp(now));
            assert_eq!(found.standing, standing, "{now}: {}", found.what);
        }
    }
}
