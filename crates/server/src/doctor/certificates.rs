//! The operator's certificates: trusted, in use, and for how long.

use keyward_crypto::x509::{Anchor, Certificate};
use keyward_license::{finding::days, time::Timestamp};

use super::Finding;
use crate::{
    operator::earlier_keys,
    store::{OperatorCertificate, Purpose, sqlite::examination::Rows},
};

/// Judges chain and dates of each certificate in use, and what of before a roll is still accepted.
pub(super) fn judge(rows: &Rows, overlap: u64, now: Timestamp) -> Vec<Finding> {
    let Some(anchor) = rows.root.as_deref().and_then(|root| Anchor::from_der(root).ok()) else {
        return vec![Finding::error(
            "certificates",
            "the root certificate is missing or damaged",
            RESTORE,
        )];
    };
    let mut findings = vec![match Certificate::parse(anchor.der()) {
        Ok(root) => judge_dates(Party::Root, &root, now),
        Err(error) => Finding::error(
            "certificates",
            format!("the root certificate is damaged: {error}"),
            RESTORE,
        ),
    }];
    for purpose in Purpose::ALL {
        let newest = rows.certificates.iter().find(|stored| stored.purpose == purpose);
        findings.push(match newest.map(|stored| Certificate::parse(&stored.der)) {
            Some(Ok(certificate)) => judge_dates(Party::Of(purpose), &certificate, now),
            Some(Err(error)) => Finding::error(
                "certificates",
                format!("{} is damaged: {error}", purpose.as_str()),
                RESTORE,
            ),
            None if purpose == Purpose::PackagerAuthority => Finding::warning(
                "certificates",
                "there is no packager-authority: packagers cannot enrol",
                "make one: `keyward admin roll packager-authority`",
            ),
            // Made when the server opens, if its authority may certify them.
            None if purpose.comes_later() => Finding::warning(
                "certificates",
                format!("there is no certificate for {} yet", purpose.as_str()),
                "start the server, which makes it; where an earlier version made the server-authority, roll that first: \
                 `keyward admin roll server-authority`",
            ),
            None => Finding::error(
                "certificates",
                format!("{} is missing", purpose.as_str()),
                RESTORE,
            ),
        });
        if let Some(newest) = newest.filter(|_| !purpose.is_authority()) {
            findings.extend(judge_chain(&anchor, newest, &rows.certificates));
        }
    }
    findings.extend(judge_overlap(rows, overlap, now));
    findings
}

/// Whose certificate it is.
#[derive(Debug, Clone, Copy)]
enum Party {
    Root,
    Of(Purpose),
}

impl Party {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Of(purpose) => purpose.as_str(),
        }
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::Root => {
                "make a new operator in time and enrol devices and packagers with it: a root is never renewed"
            }
            Self::Of(Purpose::DeviceAuthority) => "roll it: `keyward admin roll device-authority`",
            Self::Of(Purpose::PackagerAuthority) => "roll it: `keyward admin roll packager-authority`",
            Self::Of(Purpose::ServerAuthority) => "roll it: `keyward admin roll server-authority`",
            Self::Of(_) => {
                "start the server, which renews it, and look at its log; it cannot where the server-authority ends"
            }
        }
    }

    /// How many seconds before its end there is something to do. What the server renews by itself is renewed when its
    /// last third begins; so later than that something has failed. Others are to be rolled in their last third, since
    /// what they certify ends with them.
    const fn ahead(self, life: u64) -> u64 {
        match self {
            Self::Of(purpose) if !purpose.is_authority() => (life / 3).saturating_sub(life / 24),
            _ => life / 3,
        }
    }
}

/// Judges one certificate's dates.
fn judge_dates(party: Party, certificate: &Certificate, now: Timestamp) -> Finding {
    let (name, hint) = (party.name(), party.hint());
    let left = certificate.not_after().saturating_sub(now.0);
    let life = certificate.not_after().saturating_sub(certificate.not_before());
    if now.0 < certificate.not_before() {
        let early = days(certificate.not_before().saturating_sub(now.0));
        let what = format!("{name} is not valid before {early} from now");
        return Finding::error("certificates", what, "set this machine's clock");
    }
    if now.0 > certificate.not_after() {
        let ago = days(now.0.saturating_sub(certificate.not_after()));
        return Finding::error("certificates", format!("{name} has ended {ago} ago"), hint);
    }
    if left < party.ahead(life) {
        let what = match party {
            Party::Of(purpose) if !purpose.is_authority() => {
                format!("{name} ends in {}, and should have been renewed", days(left))
            }
            _ => format!("{name} ends in {}", days(left)),
        };
        return Finding::warning("certificates", what, hint);
    }
    Finding::good("certificates", format!("{name} is valid for {}", days(left)))
}

/// Says of what was rolled until when it is accepted.
fn judge_overlap(rows: &Rows, overlap: u64, now: Timestamp) -> Option<Finding> {
    let purpose = Purpose::RequestEncryption;
    let earlier = earlier_keys(&rows.secrets, &rows.certificates, purpose, overlap);
    let until = earlier.into_iter().map(|(_, until)| until).max()?;
    (now <= until).then(|| {
        let left = days(until.0.saturating_sub(now.0));
        Finding::good(
            "certificates",
            format!("requests to the request-encryption key that was rolled are accepted for {left} more"),
        )
    })
}

/// What is wrong with a leaf's chain; its dates are judged apart.
fn judge_chain(
    anchor: &Anchor,
    stored: &OperatorCertificate,
    certificates: &[OperatorCertificate],
) -> Option<Finding> {
    let leaf = Certificate::parse(&stored.der).ok()?;
    let authorities = certificates
        .iter()
        .filter(|stored| stored.purpose == Purpose::ServerAuthority);
    let mut refused = None;
    for authority in authorities {
        let chain = [stored.der.clone(), authority.der.clone()];
        let begins = Certificate::parse(&authority.der)
            .ok()?
            .not_before()
            .max(leaf.not_before());
        let mut roles = stored.purpose.roles().iter();
        match roles.find_map(|role| anchor.verify(&chain, *role, begins).err()) {
            None => return None,
            Some(error) => refused = refused.or(Some(error)),
        }
    }
    let what = format!(
        "{} is not trusted under the root: {}",
        stored.purpose.as_str(),
        refused?
    );
    Some(Finding::error("certificates", what, RESTORE))
}

const RESTORE: &str = "restore the newest backup: `keyward admin restore`";

#[cfg(test)]
mod tests {
    use keyward_crypto::{ecdsa::SigningKey, x509::issue};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::doctor::Standing;

    const THIRD: u64 = 10_000_000 / 3;

    #[test]
    fn an_end_is_told_a_third_of_a_life_ahead() {
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
            (20_000_000 - THIRD, Standing::Good),
            (20_000_001 - THIRD, Standing::Warning),
            (20_000_000, Standing::Warning),
            (20_000_001, Standing::Error),
        ] {
            let found = judge_dates(Party::Root, &certificate, Timestamp(now));
            assert_eq!(found.standing, standing, "{now}: {}", found.what);
        }
        // What the server renews in its last third is overdue later than that.
        let leaf = Party::Of(Purpose::LicenseServer);
        let overdue = 20_000_000 - THIRD + 10_000_000 / 24;
        for (now, standing) in [(overdue, Standing::Good), (overdue + 10, Standing::Warning)] {
            assert_eq!(judge_dates(leaf, &certificate, Timestamp(now)).standing, standing);
        }
    }
}
