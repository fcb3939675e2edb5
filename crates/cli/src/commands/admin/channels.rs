//! `keyward admin channel …`: how crypto periods lie in time.

use keyward_server::roots::Channel;
use serde_json::{Value, json};

use crate::{
    args::{ChannelCommand, CreateChannelArgs, OperatorDir},
    failure::Failure,
    operator::Operator,
    report::{self, Report},
};

pub(super) fn run(command: ChannelCommand, report: Report) -> Result<(), Failure> {
    match command {
        ChannelCommand::Create(args) => create(args, report),
        ChannelCommand::List(operator) => list(&operator, report),
    }
}

fn create(args: CreateChannelArgs, report: Report) -> Result<(), Failure> {
    let mut channel = Channel::new(args.content_id, args.period, args.anchor);
    if let Some(spread) = args.renewal_spread {
        channel.renewal_spread_seconds = spread;
    }
    Operator::open(&args.operator)?.set_channel(channel.clone())?;
    report.result(&line(&channel), &fields(&channel))
}

fn list(operator: &OperatorDir, report: Report) -> Result<(), Failure> {
    let channels = Operator::open(operator)?.channels()?;
    let text = match channels.is_empty() {
        true => "there is no channel".to_owned(),
        false => channels.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    let listed: Vec<_> = channels.iter().map(fields).collect();
    report.result(&text, &json!({ "channels": listed }))
}

fn line(channel: &Channel) -> String {
    let name = report::quoted(&channel.content_id);
    let period = report::seconds(channel.period_seconds);
    let in_time = match channel.anchor {
        Some(anchor) => format!(
            "the first from {} on, renewals spread over {}",
            report::time(anchor),
            report::seconds(channel.renewal_spread_seconds)
        ),
        None => "which follow no clock".to_owned(),
    };
    format!("channel {name}: crypto periods of {period}, {in_time}")
}

fn fields(channel: &Channel) -> Value {
    json!({
        "content_id": channel.content_id,
        "period_seconds": channel.period_seconds,
        "anchor": channel.anchor.map(|anchor| anchor.0),
        "renewal_spread_seconds": channel.renewal_spread_seconds,
    })
}
