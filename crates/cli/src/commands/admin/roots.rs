//! `keyward admin root …`: what one license opens.

use keyward_license::ids::Kid;
use keyward_server::roots::{Blackout, NewRoot, Periods, Root, RootContent};
use serde_json::{Value, json};

use crate::{
    args::{
        BlackoutArgs, CreateRootArgs, LiftBlackoutArgs, OperatorDir, PutArgs, RootArgs, RootCommand, TakeArgs,
    },
    failure::Failure,
    operator::{Operator, UnderRoot},
    report::{self, Report},
};

pub(super) fn run(command: RootCommand, report: Report) -> Result<(), Failure> {
    match command {
        RootCommand::Create(args) => create(args, report),
        RootCommand::List(operator) => list(&operator, report),
        RootCommand::Show(args) => show(&args, report),
        RootCommand::Put(args) => put(&args, report),
        RootCommand::Take(args) => take(&args, report),
        RootCommand::Blackout(args) => blackout(&args, report),
        RootCommand::LiftBlackout(args) => lift_blackout(&args, report),
    }
}

/// Prints the key id alone, for scripts to keep.
fn create(args: CreateRootArgs, report: Report) -> Result<(), Failure> {
    let new = NewRoot {
        kid: args.kid,
        minimum_security_level: args.level,
        accompany: args.accompany,
        ..NewRoot::new(args.name)
    };
    let name = report::quoted(&new.name);
    let kid = Operator::open(&args.operator)?.create_root(new)?;
    report.note(&format!(
        "root {name}: put content under it with `keyward admin root put`, and entitle accounts to it with `keyward admin grant --root`"
    ));
    report.result(&kid.to_string(), &json!({ "kid": kid.to_string() }))
}

fn list(operator: &OperatorDir, report: Report) -> Result<(), Failure> {
    let roots = Operator::open(operator)?.roots()?;
    let text = match roots.is_empty() {
        true => "there is no root".to_owned(),
        false => roots.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    let listed: Vec<_> = roots.iter().map(fields).collect();
    report.result(&text, &json!({ "roots": listed }))
}

fn show(args: &RootArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.operator)?;
    let (root, under) = operator.root(operator.root_named(&args.name)?)?;
    let mut lines = vec![line(&root), format!("  made {}", report::time(root.created))];
    lines.extend(under.contents.iter().map(content_line));
    lines.extend(under.keys.iter().map(|kid| format!("  key {kid}")));
    lines.extend(under.blackouts.iter().map(blackout_line));
    if under.contents.is_empty() && under.keys.is_empty() {
        lines.push("  nothing is under it".to_owned());
    }
    let json = report::with(
        fields(&root),
        [
            ("contents", under.contents.iter().map(content_fields).collect()),
            ("keys", under.keys.iter().map(ToString::to_string).collect()),
            ("blackouts", under.blackouts.iter().map(blackout_fields).collect()),
        ],
    );
    report.result(&lines.join("\n"), &json)
}

fn put(args: &PutArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.root.operator)?;
    let root = operator.root_named(&args.root.name)?;
    let periods = Periods {
        from: args.from_period,
        to: args.to_period,
    };
    let what = under(args.what.content_id.as_deref(), args.what.kid, periods)?;
    operator.put_under_root(root, &what)?;
    let words = format!("{} is under root {}", of(&what), report::quoted(&args.root.name));
    report.result(&words, &named(root, &what))
}

fn take(args: &TakeArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.root.operator)?;
    let root = operator.root_named(&args.root.name)?;
    let what = under(args.what.content_id.as_deref(), args.what.kid, Periods::ALL)?;
    operator.take_off_root(root, &what)?;
    let name = report::quoted(&args.root.name);
    let words = format!(
        "{} is not under root {name} any more; leaf licenses that there are stay",
        of(&what)
    );
    report.result(&words, &named(root, &what))
}

/// The two are one required group of the command line.
fn under<'a>(
    content_id: Option<&'a str>,
    kid: Option<Kid>,
    periods: Periods,
) -> Result<UnderRoot<'a>, Failure> {
    match (content_id, kid) {
        (Some(content_id), _) => Ok(UnderRoot::Content(content_id, periods)),
        (None, Some(kid)) => Ok(UnderRoot::Key(kid)),
        (None, None) => Err(Failure::new(
            "neither content nor a key was named",
            "name content with `--content-id`, or a key with `--kid`",
        )),
    }
}

fn of(what: &UnderRoot<'_>) -> String {
    match what {
        UnderRoot::Content(content_id, periods) => {
            format!("content {}{}", report::quoted(content_id), in_words(*periods))
        }
        UnderRoot::Key(kid) => format!("key {kid}"),
    }
}

fn named(root: Kid, what: &UnderRoot<'_>) -> Value {
    match what {
        UnderRoot::Content(content_id, periods) => json!({
            "root": root.to_string(),
            "content_id": content_id,
            "from_period": periods.from,
            "to_period": periods.to,
        }),
        UnderRoot::Key(kid) => json!({ "root": root.to_string(), "kid": kid.to_string() }),
    }
}

fn blackout(args: &BlackoutArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.root.operator)?;
    let root = operator.root_named(&args.root.name)?;
    let id = operator.black_out(root, &args.content_id, (args.from_period, args.to_period))?;
    let made = Blackout {
        id,
        content_id: args.content_id.clone(),
        from: args.from_period,
        to: args.to_period,
    };
    report.note("Leaf licenses that packagers have by now are not called back.");
    let name = report::quoted(&args.root.name);
    let words = format!("root {name}: {}", blackout_line(&made).trim_start());
    report.result(&words, &blackout_fields(&made))
}

fn lift_blackout(args: &LiftBlackoutArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.root.operator)?;
    let root = operator.root_named(&args.root.name)?;
    operator.lift_blackout(root, args.blackout)?;
    report.result(
        &format!("blackout {} is lifted", args.blackout),
        &json!({ "root": root.to_string(), "blackout": args.blackout }),
    )
}

/// A root in a line.
fn line(root: &Root) -> String {
    let mut words = format!("{} {}", root.kid, report::quoted(&root.name));
    if let Some(level) = root.minimum_security_level {
        words += &format!(", for devices of security level {level} and above");
    }
    if root.accompany {
        words += ", with a leaf the others go along";
    }
    words
}

fn content_line(content: &RootContent) -> String {
    let (id, periods) = (report::quoted(&content.content_id), in_words(content.periods));
    format!("  content {id}{periods}")
}

fn blackout_line(blackout: &Blackout) -> String {
    let periods = in_words(Periods {
        from: Some(blackout.from),
        to: blackout.to,
    });
    let content_id = report::quoted(&blackout.content_id);
    format!("  blackout {}: content {content_id}{periods}", blackout.id)
}

fn in_words(periods: Periods) -> String {
    match (periods.from, periods.to) {
        (None, None) => String::new(),
        (Some(from), None) => format!(", crypto periods from {from} on"),
        (from, Some(to)) => format!(", crypto periods from {} to below {to}", from.unwrap_or_default()),
    }
}

fn fields(root: &Root) -> Value {
    json!({
        "kid": root.kid.to_string(),
        "name": root.name,
        "minimum_security_level": root.minimum_security_level,
        "accompany": root.accompany,
        "created": root.created.0,
    })
}

fn content_fields(content: &RootContent) -> Value {
    json!({
        "content_id": content.content_id,
        "from_period": content.periods.from,
        "to_period": content.periods.to,
    })
}

fn blackout_fields(blackout: &Blackout) -> Value {
    json!({
        "blackout": blackout.id,
        "content_id": blackout.content_id,
        "from_period": blackout.from,
        "to_period": blackout.to,
    })
}
