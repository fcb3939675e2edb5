//! `keyward admin policy …`: what licenses permit.

use std::{io::Read, path::Path};

use keyward_server::policy::{Overrides, Policy, PolicyFault, PolicyTerms, Preset};
use serde_json::json;

use crate::{
    args::{OperatorDir, PolicyCommand, PresetArgs, ShowPolicyArgs, TermsArgs, WritePolicyArgs},
    failure::{Failure, file_error},
    operator::Operator,
    report::{self, Report},
};

pub(super) fn run(command: &PolicyCommand, report: Report) -> Result<(), Failure> {
    match command {
        PolicyCommand::Presets => presets(report),
        PolicyCommand::Preset(args) => preset(args, report),
        PolicyCommand::Write(args) => write(args, report),
        PolicyCommand::List(operator) => list(operator, report),
        PolicyCommand::Show(args) => show(args, report),
    }
}

fn presets(report: Report) -> Result<(), Failure> {
    let lines = Preset::ALL.map(|preset| format!("{}: {}", preset.name(), preset.says()));
    let listed = Preset::ALL
        .map(|preset| json!({ "name": preset.name(), "says": preset.says(), "terms": preset.terms() }));
    report.result(&lines.join("\n"), &json!({ "presets": listed }))
}

fn preset(args: &PresetArgs, report: Report) -> Result<(), Failure> {
    let preset = Preset::from_name(&args.preset)
        .map_err(|fault| Failure::new(fault, "see `keyward admin policy presets`"))?;
    let name = args.name.as_deref().unwrap_or(preset.name());
    put(&args.operator, name, preset.terms(), &args.terms, report)
}

fn write(args: &WritePolicyArgs, report: Report) -> Result<(), Failure> {
    let bare = PolicyTerms::of_level(PolicyTerms::DEFAULT.minimum_security_level);
    put(&args.operator, &args.name, bare, &args.terms, report)
}

fn put(
    operator: &OperatorDir,
    name: &str,
    terms: PolicyTerms,
    args: &TermsArgs,
    report: Report,
) -> Result<(), Failure> {
    let terms = args.over(terms)?;
    let version = Operator::open(operator)?.policy(name, terms.clone())?;
    report.result(
        &format!("policy {name} has version {version}"),
        &json!({ "policy": name, "version": version, "terms": terms }),
    )
}

fn list(operator: &OperatorDir, report: Report) -> Result<(), Failure> {
    let policies = Operator::open(operator)?.policies()?;
    let line =
        |Policy { name, version, terms }: &Policy| format!("{name}, version {version}: {}", in_words(terms));
    let lines: Vec<_> = policies.iter().map(line).collect();
    report.result(&lines.join("\n"), &json!({ "policies": policies }))
}

fn show(args: &ShowPolicyArgs, report: Report) -> Result<(), Failure> {
    let versions = Operator::open(&args.operator)?.policy_versions(&args.name)?;
    let wanted = |policy: &Policy| args.version.is_none_or(|version| version == policy.version);
    let policy = versions.into_iter().find(wanted).ok_or_else(|| {
        Failure::new(
            format!("policy {} has no such version", args.name),
            "leave `--version` out to see the newest",
        )
    })?;
    let json = json!(policy);
    report.result(&format!("{:#}", json!(policy.terms)), &json)
}

impl TermsArgs {
    /// The terms with what the file says, and then with what the flags say.
    fn over(&self, terms: PolicyTerms) -> Result<PolicyTerms, Failure> {
        let mut overrides = match &self.terms {
            Some(path) => read(path)?,
            None => Overrides::default(),
        };
        let numbers = [
            ("duration_seconds", self.duration),
            ("end", self.end.map(|end| end.0)),
            ("expiration_after_first_play_seconds", self.first_play),
            ("grace_period_seconds", self.grace),
            ("minimum_security_level", self.minimum_security_level),
        ];
        for (term, value) in numbers {
            if let Some(value) = value {
                overrides.set(term, value);
            }
        }
        if let Some(offset) = self.begin_after {
            overrides.set("begin_offset_seconds", offset);
        }
        if self.real_time {
            overrides.set("real_time_expiration", true);
        }
        if self.embed {
            overrides.set("embed", true);
        }
        if self.in_memory {
            overrides.set("persistent_allowed", false);
            // What is not stored is not removed.
            overrides.set("removal_after_end_seconds", serde_json::Value::Null);
        }
        terms.with(overrides).map_err(|fault| unread(&fault))
    }
}

fn read(path: &Path) -> Result<Overrides, Failure> {
    let text = if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin()
            .lock()
            .take(MOST_BYTES)
            .read_to_end(&mut text)
            .map(|_| text)
    } else {
        std::fs::read(path)
    };
    Overrides::from_json(&text.map_err(file_error("read", path))?).map_err(|fault| unread(&fault))
}

fn unread(fault: &PolicyFault) -> Failure {
    Failure::new(
        format!("the policy was refused: {fault}"),
        "compare the terms with those of the guide about policies",
    )
}

/// The terms that most policies differ in.
fn in_words(terms: &PolicyTerms) -> String {
    let kept = if terms.persistent_allowed {
        "stored"
    } else {
        "in memory"
    };
    let mut words = vec![
        kept.to_owned(),
        format!("security level {}", terms.minimum_security_level),
    ];
    words.extend(
        terms
            .duration_seconds
            .map(|duration| format!("for {}", report::seconds(duration))),
    );
    words.extend(terms.end.map(|end| report::until(Some(end))));
    if terms.duration_seconds.is_none() && terms.end.is_none() {
        words.push("without end".to_owned());
    }
    let first_play = terms.expiration_after_first_play_seconds;
    words.extend(first_play.map(|duration| format!("{} from the first play", report::seconds(duration))));
    words.extend(
        terms
            .grace_period_seconds
            .map(|grace| format!("{} of grace", report::seconds(grace))),
    );
    if terms.real_time_expiration {
        words.push("playback stops at the end".to_owned());
    }
    if terms.embed {
        words.push("embedded in the content".to_owned());
    }
    words.join(", ")
}

/// Most of a file of terms that comes by standard input.
const MOST_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_in_words() {
        let words = Preset::ALL.map(|preset| format!("{}: {}", preset.name(), in_words(&preset.terms())));
        insta::assert_snapshot!(words.join("\n"), @"
        rental: stored, security level 2000, for 30 days, 2 days from the first play
        rental-streaming: in memory, security level 2000, for 2 days
        subscription: stored, security level 2000, for 30 days, 3 days of grace
        purchase: stored, security level 2000, without end
        live: in memory, security level 2000, for 6 hours, 10 minutes of grace, playback stops at the end
        limited-duration: in memory, security level 2000, for 30 seconds, 30 seconds of grace, playback stops at the end
        test: stored, security level 150, for 1 day
        ");
    }
}
