//! Exchange keys: they open, have a version in use, and are not near the end of what one key bears.

use super::Finding;
use crate::{
    key_exchange::{self, KeyState, MAX_MESSAGES},
    sealing::KeyEncryptionKey,
    store::exchange::ExchangeKeyRow,
};

/// Judges every exchange key; nothing is said where there is none.
pub(super) fn judge(keys: &[ExchangeKeyRow], kek: &KeyEncryptionKey) -> Vec<Finding> {
    let mut findings: Vec<_> = keys.iter().flat_map(judge_key).collect();
    let closed: Vec<_> = keys
        .iter()
        .filter(|key| !key_exchange::opens(kek, key))
        .map(|key| key.kid.to_string())
        .collect();
    if !closed.is_empty() {
        findings.push(Finding::error(
            ABOUT,
            format!("exchange keys do not open: {}", closed.join(", ")),
            "restore the newest backup: `keyward admin restore`; what is encrypted with them cannot be read otherwise",
        ));
    } else if !keys.is_empty() {
        let said = format!("all exchange keys open ({})", keys.len());
        findings.push(Finding::good(ABOUT, said));
    }
    findings
}

fn judge_key(key: &ExchangeKeyRow) -> Option<Finding> {
    if key.state == KeyState::Destroyed {
        return None;
    }
    let kid = key.kid;
    let Some(newest) = key.versions.first().filter(|newest| newest.sealed.is_some()) else {
        return Some(Finding::error(
            ABOUT,
            format!("exchange key {kid} has no newest version: no license is issued for it"),
            "rotate it, or destroy it whole",
        ));
    };
    let made = newest.messages;
    if made >= MAX_MESSAGES {
        return Some(Finding::error(
            ABOUT,
            format!(
                "exchange key {kid} has made all the messages that its newest version may: nothing is encrypted"
            ),
            "rotate it",
        ));
    }
    (made >= MANY_MESSAGES).then(|| {
        Finding::warning(
            ABOUT,
            format!(
                "exchange key {kid} has made {made} of the 4294967296 messages that its newest version may"
            ),
            "rotate it",
        )
    })
}

const ABOUT: &str = "exchange";

/// Three quarters of what one key bears.
const MANY_MESSAGES: u64 = MAX_MESSAGES / 4 * 3;

#[cfg(test)]
mod tests {
    use keyward_crypto::Secret;
    use keyward_license::{ids::Kid, time::Timestamp};

    use super::*;
    use crate::{doctor::Standing, store::exchange::ExchangeVersionRow};

    fn key(state: KeyState, newest: Option<(Option<Vec<u8>>, u64)>) -> ExchangeKeyRow {
        let version = |(sealed, messages)| ExchangeVersionRow {
            version: 1,
            sealed,
            messages,
            created: Timestamp(0),
        };
        ExchangeKeyRow {
            kid: Kid::new([1; 16]),
            name: "meters".into(),
            algorithm: 3,
            operation: 4,
            context: None,
            uses: None,
            minimum_version: 1,
            minimum_security_level: None,
            beside: None,
            state,
            revision: 1,
            created: Timestamp(0),
            versions: newest.map(version).into_iter().collect(),
        }
    }

    #[test]
    fn a_key_is_judged_by_its_newest_version() {
        let sealed = |messages| Some((Some(vec![0]), messages));
        let cases = [
            (KeyState::Enabled, sealed(0), None),
            (KeyState::Enabled, sealed(MANY_MESSAGES - 1), None),
            (KeyState::Enabled, sealed(MANY_MESSAGES), Some(Standing::Warning)),
            (KeyState::Disabled, sealed(MAX_MESSAGES), Some(Standing::Error)),
            (KeyState::Enabled, Some((None, 0)), Some(Standing::Error)),
            (KeyState::Enabled, None, Some(Standing::Error)),
            (KeyState::Destroyed, Some((None, MAX_MESSAGES)), None),
        ];
        for (state, newest, standing) in cases {
            let judged = judge_key(&key(state, newest));
            assert_eq!(judged.map(|finding| finding.standing), standing);
        }
    }

    #[test]
    fn what_does_not_open_is_named_and_where_there_is_nothing_nothing_is_said() {
        let kek = KeyEncryptionKey::new(Secret::new([1; 32]));
        assert!(judge(&[], &kek).is_empty());
        let broken = judge(&[key(KeyState::Enabled, Some((Some(vec![0; 60]), 0)))], &kek);
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].standing, Standing::Error);
        let destroyed = judge(&[key(KeyState::Destroyed, Some((None, 0)))], &kek);
        assert_eq!(destroyed[0].standing, Standing::Good);
    }
}
