//! `keyward admin roll`: another key in the place of one, while the server serves.

use keyward_license::time::Timestamp;
use keyward_server::{
    rolls::{Purpose, RolledKek, RolledKey, RolledSeed},
    sealing::KeyEncryptionKey,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    args::{RollArgs, Rolled},
    failure::Failure,
    operator::{Operator, RootKey},
    report::{self, Report},
};

pub(crate) fn run(args: &RollArgs, report: Report) -> Result<(), Failure> {
    check(args)?;
    let new_kek = args.new_kek_env.as_deref().map(supplied).transpose()?;
    let operator = Operator::open(&args.operator)?;
    let purpose = || {
        Purpose::from_text(args.what.name())
            .ok_or_else(|| Failure::new("this server does not roll that", "use one program for both"))
    };
    match args.what {
        Rolled::Kek => {
            let given = new_kek
                .as_ref()
                .map(|hex| KeyEncryptionKey::from_hex(hex).map_err(|_| malformed(args)))
                .transpose()?;
            let rolled = operator
                .rolls()?
                .kek(given, new_kek.as_ref().map(|hex| hex.as_str()))?;
            tell_kek(&rolled, report)
        }
        Rolled::Seed => tell_seed(&operator.rolls()?.seed()?, report),
        Rolled::LicenseServer | Rolled::RequestEncryption | Rolled::Receipt | Rolled::RevocationList => {
            tell_key(args.what, &operator.rolls()?.key(purpose()?)?, report)
        }
        Rolled::ServerAuthority | Rolled::DeviceAuthority | Rolled::PackagerAuthority => {
            let root_key = RootKey {
                dir: &args.operator,
                file: args.root_key.as_deref(),
                kek_file: args.root_kek_file.as_deref(),
            };
            tell_key(
                args.what,
                &operator.rolls()?.authority(purpose()?, &root_key)?,
                report,
            )
        }
    }
}

/// Whether every option is for what is rolled.
fn check(args: &RollArgs) -> Result<(), Failure> {
    let is_authority = matches!(
        args.what,
        Rolled::ServerAuthority | Rolled::DeviceAuthority | Rolled::PackagerAuthority
    );
    let misplaced = [
        ("--root-key", args.root_key.is_some() && !is_authority),
        ("--root-kek-file", args.root_kek_file.is_some() && !is_authority),
        (
            "--new-kek-env",
            args.new_kek_env.is_some() && args.what != Rolled::Kek,
        ),
    ];
    match misplaced.iter().find(|(_, misplaced)| *misplaced) {
        Some((option, _)) => Err(Failure::new(
            format!("{option} has nothing to do with {}", args.what.name()),
            "leave it out; see `keyward admin roll --help`",
        )),
        None => Ok(()),
    }
}

/// What an environment variable holds.
#[expect(clippy::disallowed_methods, reason = "the environment belongs to this crate")]
fn supplied(name: &str) -> Result<Zeroizing<String>, Failure> {
    std::env::var(name).map(Zeroizing::new).map_err(|_| {
        Failure::new(
            format!("the environment variable {name} is not set"),
            "set it to the new key-encryption key, 64 hexadecimal digits",
        )
    })
}

fn malformed(args: &RollArgs) -> Failure {
    let name = args.new_kek_env.as_deref().unwrap_or_default();
    Failure::new(
        format!("the environment variable {name} holds no key-encryption key"),
        "set it to the new key-encryption key, 64 hexadecimal digits",
    )
}

fn tell_key(what: Rolled, rolled: &RolledKey, report: Report) -> Result<(), Failure> {
    let name = what.name();
    let until = rolled
        .before_accepted_until
        .map(|until| report::time(Timestamp(until)));
    let before = match (what, &until) {
        (_, None) => "there was none before it".to_owned(),
        (Rolled::LicenseServer, Some(until)) => {
            format!("what was signed with the old one stays valid until {until} at the latest")
        }
        (Rolled::RequestEncryption, Some(until)) => {
            format!("requests to the old one are accepted until {until}")
        }
        (Rolled::Receipt | Rolled::RevocationList, Some(_)) => {
            "the old one signs nothing any more".to_owned()
        }
        (_, Some(until)) => format!("what the old one certified stays valid until {until} at the latest"),
    };
    report.note(match what {
        Rolled::Receipt | Rolled::RevocationList => "Devices learn of it with what it signs; nothing else is to be done.",
        Rolled::LicenseServer | Rolled::RequestEncryption => {
            "Devices learn of it with their next discovery document; nothing else is to be done."
        }
        Rolled::ServerAuthority => {
            "The server's own certificates come from it when they are renewed; to have them from it now, roll \
             license-server, request-encryption, receipt and revocation-list."
        }
        _ => "New certificates come from it. Put the root's private key back to where you keep it.",
    });
    report.result(
        &format!(
            "{name} has a new key, certified until {}; {before}",
            report::time(Timestamp(rolled.ends))
        ),
        &json!({
            "what": name,
            "number": rolled.number,
            "ends": rolled.ends,
            "before_accepted_until": rolled.before_accepted_until,
        }),
    )
}

fn tell_kek(rolled: &RolledKek, report: Report) -> Result<(), Failure> {
    report.note(&match &rolled.old_in {
        Some(old) => format!(
            "It is in the operator's file `kek`: copy it to where you keep it. Backups that were made before open with the \
             old one alone, which is in the file `{old}`: move it to where you keep them."
        ),
        None => "Supply the new one from now on, in the place of the old: the server that runs has it, and the next start \
                 needs it. Backups that were made before open with the old one alone; keep that with them."
            .to_owned(),
    });
    let root = if rolled.root_key_resealed {
        "so is the root's private key in the operator's folder; copies elsewhere need the old one"
    } else {
        "the root's private key is elsewhere, and needs the one that it is sealed under"
    };
    report.result(
        &format!(
            "{} values are sealed under a new key-encryption key; {root}",
            rolled.resealed
        ),
        &json!({
            "what": "kek",
            "resealed": rolled.resealed,
            "in_file": rolled.in_file,
            "old_in": rolled.old_in,
            "root_key_resealed": rolled.root_key_resealed,
        }),
    )
}

fn tell_seed(rolled: &RolledSeed, report: Report) -> Result<(), Failure> {
    let used = if rolled.used {
        "new key ids derive from it, and those that are registered keep their keys"
    } else {
        "nothing derives from it until operator.toml says so: `seed = \"newest\"` in [packaging]"
    };
    report.result(
        &format!("license key seed {} is made; {used}", rolled.number),
        &json!({ "what": "seed", "number": rolled.number, "used": rolled.used }),
    )
}
