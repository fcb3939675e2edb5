//! `keyward licenses …`: what is in the license store.

use keyward_client::{enforce::Stop, held::HeldLicense, install::ToEmbed};
use keyward_client_native::NativeClient;
use keyward_license::{
    ids::{Kid, LicenseId},
    license::LicenseKind,
    time::Timestamp,
    usage_rules::Refusal,
};
use serde_json::json;

use crate::{
    args::{ClientDir, EmbedArgs, LicenseArgs, LicensesCommand},
    client,
    commands::{inspect, trust},
    embedding,
    exchange::Described,
    failure::{Exit, Failure},
    protected::Protected,
    report::{self, Report},
};

pub(crate) fn run(command: LicensesCommand, report: Report) -> Result<(), Failure> {
    match command {
        LicensesCommand::List(dir) => list(dir, report),
        LicensesCommand::Show(args) => show(args, report),
        LicensesCommand::Delete(args) => delete(args, report),
        LicensesCommand::Embed(args) => embed(args, report),
        LicensesCommand::Lists(dir) => trust::lists(dir, report),
        LicensesCommand::Clean(dir) => clean(dir, report),
        LicensesCommand::RenewKey(dir) => renew_key(dir, report),
    }
}

fn list(dir: ClientDir, report: Report) -> Result<(), Failure> {
    let mut client = client::open_existing(dir)?;
    let held = sorted(&mut client)?;
    let mut lines: Vec<String> = Vec::new();
    for (kid, license) in each_key(&held) {
        let body = &license.body;
        let mut says = vec![
            format!(
                "license {} of {}",
                body.id,
                client::operator_words(&client, license.operator)
            ),
            format!(
                "{}{}{}",
                report::until(ends(license)),
                if is_over(license) { " (ended)" } else { "" },
                after_first_play(license)
            ),
            if body.persistent {
                "persistent"
            } else {
                "in memory"
            }
            .to_owned(),
        ];
        says.extend(chain(license));
        let described = Described::all(body, &license.uses);
        let described = described.iter().find(|described| described.kid == kid);
        says.extend(described.map(Described::words));
        says.extend(
            license
                .first_play
                .map(|at| format!("first played at {}", report::time(at))),
        );
        says.push(match &license.verdict {
            _ if !license.is_for_this_host => "not usable by this program (V-029)".to_owned(),
            Ok(_) if described.is_some_and(Described::is_used_up) => "not usable any more".to_owned(),
            Ok(_) => "usable".to_owned(),
            Err(stop) => format!("not usable: {stop} ({})", stop.rule()),
        });
        lines.push(format!("key {kid}: {}", says.join(", ")));
    }
    let listed: Vec<_> = each_key(&held)
        .map(|(kid, license)| {
            let fields = listed(kid, license, &client::operator_name(&client, license.operator));
            let is_test = client::is_test_operator(&client, license.operator);
            report::with(fields, [("test_operator", is_test.into())])
        })
        .collect();
    let (none_any_more, distrusted) = trust::distrusted(&mut client, None)?;
    lines.extend(none_any_more);
    if lines.is_empty() {
        lines.push("there is no license in the store".to_owned());
    }
    report.result(
        &lines.join("\n"),
        &json!({ "licenses": listed, "distrusted": distrusted }),
    )
}

fn listed(kid: Kid, license: &HeldLicense, operator_name: &str) -> serde_json::Value {
    let body = &license.body;
    let seconds = |time: Option<Timestamp>| time.map(|time| time.0);
    let described = Described::all(body, &license.uses);
    let described = described.iter().find(|described| described.kid == kid);
    let used_up = described.is_some_and(Described::is_used_up);
    json!({
        "kid": kid.to_string(),
        "exchange_key": described.map(Described::fields),
        "license": body.id.to_string(),
        "kind": inspect::license_kind(body.kind),
        "root": body.leaf_of().map(|root| root.to_string()),
        "root_license": license.root.as_ref().map(|root| root.id.to_string()),
        "operator": license.operator.to_string(),
        "operator_name": operator_name,
        "begin": seconds(body.begin),
        "until": seconds(ends(license)),
        "ended": is_over(license),
        "expiration_after_first_play": body.expiration_after_first_play,
        "first_play": seconds(license.first_play),
        "real_time_expiration": body.real_time_expiration.is_some(),
        "removal_date": seconds(body.removal_date),
        "minimum_security_level": body.minimum_security_level,
        "security_level": license.security_level,
        "persistent": body.persistent,
        "issued": body.issued.0,
        "installed": seconds(license.installed),
        "usable": license.is_for_this_host && license.verdict.is_ok() && !used_up,
        "rule": match &license.verdict {
            Ok(_) if used_up => "R-052",
            Ok(allowed) => allowed.decided_by.number(),
            Err(stop) => stop.rule().number(),
        },
    })
}

/// Where a license stands in a chain.
fn chain(license: &HeldLicense) -> Option<String> {
    if license.body.kind == LicenseKind::Root {
        return Some("a root license".to_owned());
    }
    let root = license.body.leaf_of()?;
    Some(match &license.root {
        Some(above) => format!("a leaf of root {root} under license {}", above.id),
        None => format!("a leaf of root {root}"),
    })
}

/// When it ends for good: by its terms and by its first play, if there was one; a leaf with its root.
fn ends(license: &HeldLicense) -> Option<Timestamp> {
    let ends = license.root.as_ref().unwrap_or(&license.body);
    let after = ends.expiration_after_first_play.zip(license.first_play);
    let played_out = after.map(|(seconds, first_play)| first_play.plus(seconds));
    license.usable_until().into_iter().chain(played_out).min()
}

/// What the first play will do to its end, for people.
fn after_first_play(license: &HeldLicense) -> String {
    let ends = license.root.as_ref().unwrap_or(&license.body);
    let not_played = ends
        .expiration_after_first_play
        .filter(|_| license.first_play.is_none());
    not_played.map_or_else(String::new, |seconds| {
        format!(", and for {} after its first play", report::seconds(seconds))
    })
}

fn is_over(license: &HeldLicense) -> bool {
    matches!(
        license.verdict,
        Err(Stop::Refused(
            Refusal::Ended { .. } | Refusal::FirstPlayExpired { .. }
        ))
    )
}

fn show(args: LicenseArgs, report: Report) -> Result<(), Failure> {
    let mut client = client::open_existing(args.client)?;
    let held = sorted(&mut client)?;
    let (mut words, mut json) = (Vec::new(), Vec::new());
    for license in held.iter().filter(|license| is_named(license, args.id)) {
        let (text, fields) = inspect::held_license(&license.signed, &client)?;
        words.push(text);
        json.push(fields);
    }
    if words.is_empty() {
        return Err(none(args.id));
    }
    report.result(&words.join("\n\n"), &json!({ "licenses": json }))
}

fn delete(args: LicenseArgs, report: Report) -> Result<(), Failure> {
    let mut client = client::open_existing(args.client)?;
    let of_license = client
        .held_licenses()?
        .iter()
        .filter(|license| license.body.id == as_license(args.id))
        .find_map(|license| license.body.keys.first().map(|key| key.kid));
    let deleted = match of_license {
        Some(kid) => usize::from(client.remove_license(kid, as_license(args.id))?),
        // Those that do not verify any more are not listed, and go with their key id.
        None => client.remove_licenses(args.id)?,
    };
    let words = match deleted {
        0 => return Err(none(args.id)),
        1 => "1 license deleted".to_owned(),
        many => format!("{many} licenses deleted"),
    };
    report.result(&words, &json!({ "deleted": deleted }))
}

/// R-045, for licenses that were installed where the content was not.
fn embed(args: EmbedArgs, report: Report) -> Result<(), Failure> {
    let content = Protected::open(&args.file)?.content();
    let held = client::open_existing(args.client)?.held_licenses()?;
    let (mut embedded, mut failed) = (Vec::new(), 0_usize);
    for license in held.iter().filter(|license| license.body.embed.is_some()) {
        let Some(kid) = license
            .body
            .asked_kid()
            .ok()
            .filter(|kid| content.kids.contains(kid))
        else {
            continue;
        };
        let to_embed = ToEmbed {
            kid,
            id: license.body.id,
            license: license.signed.clone(),
        };
        match embedding::into(&args.file, &to_embed, report) {
            true => embedded.push(license.body.id.to_string()),
            false => failed = failed.saturating_add(1),
        }
    }
    let words = match embedded.len() {
        1 => "1 license embedded".to_owned(),
        many => format!("{many} licenses embedded"),
    };
    report.result(&words, &json!({ "embedded": embedded }))?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(
            format!("not every license was embedded in {}", args.file.display()),
            "they stay usable on this device; have the content packaged with more room for them",
        )),
    }
}

fn clean(dir: ClientDir, report: Report) -> Result<(), Failure> {
    let removed = client::open_existing(dir)?.clean()?;
    let words = match removed {
        1 => "1 license deleted: its removal date has come (R-044)".to_owned(),
        many => format!("{many} licenses deleted whose removal date has come (R-044)"),
    };
    report.result(&words, &json!({ "deleted": removed }))
}

fn renew_key(dir: ClientDir, report: Report) -> Result<(), Failure> {
    client::open_existing(dir)?.renew_store_key()?;
    report.result("the store has a new key", &json!({ "renewed": true }))
}

/// Every license of the store: by key id, the oldest first.
fn sorted(client: &mut NativeClient) -> Result<Vec<HeldLicense>, Failure> {
    let mut held = client.held_licenses()?;
    held.sort_by_key(|license| {
        let kid = license.body.keys.first().map(|key| key.kid);
        (kid, license.body.issued, license.body.id)
    });
    Ok(held)
}

fn each_key(held: &[HeldLicense]) -> impl Iterator<Item = (Kid, &HeldLicense)> {
    // The versions of an exchange key stand side by side.
    held.iter().flat_map(|license| {
        let keys = license.body.keys.chunk_by(|one, next| one.kid == next.kid);
        keys.filter_map(move |versions| Some((versions.first()?.kid, license)))
    })
}

fn is_named(license: &HeldLicense, id: Kid) -> bool {
    license.body.id == as_license(id) || license.body.keys.iter().any(|key| key.kid == id)
}

/// Key ids and license ids have the same form, and are told apart by what is there.
const fn as_license(id: Kid) -> LicenseId {
    LicenseId::new(*id.as_bytes())
}

fn none(id: Kid) -> Failure {
    Failure {
        exit: Exit::NotPermitted,
        ..Failure::new(
            format!("no license in the store has the key id or license id {id}"),
            "see `keyward licenses list`",
        )
    }
}
