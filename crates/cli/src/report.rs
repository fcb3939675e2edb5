//! What the program prints: data on standard output (as JSON with `--json`), everything else on
//! standard error.

use std::{
    io::{ErrorKind, IsTerminal, Write},
    path::Path,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keyward_license::{error_code::ErrorCode, time::Timestamp};

use crate::failure::{Exit, Failure};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
}

impl Report {
    /// The result of a command: text for people, or one JSON object.
    pub(crate) fn result(self, text: &str, json: &serde_json::Value) -> Result<(), Failure> {
        match self.print(text, json) {
            // A reader that has seen enough is no failure of ours.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| unprinted(&error)),
        }
    }

    /// The result of a command whose data went to `output`. If that is standard output, which then holds the
    /// data and nothing else, it is said as a remark.
    pub(crate) fn result_beside(
        self,
        output: &Path,
        text: &str,
        json: &serde_json::Value,
    ) -> Result<(), Failure> {
        if output == Path::new("-") {
            self.note(text);
            return Ok(());
        }
        self.result(text, json)
    }

    /// A result that is shown once: somebody must have read it.
    pub(crate) fn result_shown_once(self, text: &str, json: &serde_json::Value) -> Result<(), Failure> {
        self.print(text, json).map_err(|error| unprinted(&error))
    }

    /// A token: by itself, for who assigns it, with the words as a remark.
    pub(crate) fn token(self, what: &str, token: &str, json: &serde_json::Value) -> Result<(), Failure> {
        self.note(&format!("{what}, shown once:"));
        self.result_shown_once(token, json)
    }

    fn print(self, text: &str, json: &serde_json::Value) -> std::io::Result<()> {
        let line = if self.json {
            json.to_string()
        } else {
            text.to_owned()
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// A remark for people.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            to_stderr(text);
        }
    }

    /// A failure.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let mut json = serde_json::json!({ "error": failure.message, "hint": failure.hint });
            if let Some(page) = &failure.page {
                json = with(json, [("page", page.clone().into())]);
            }
            if let Some(code) = failure.code {
                let name = ErrorCode::from_number(code).map(ErrorCode::name);
                json = with(json, [("code", code.into()), ("name", name.into())]);
            }
            if let Some(request) = failure.request {
                json = with(json, [("request_id", request.into())]);
            }
            to_stderr(&json.to_string());
        } else {
            to_stderr(&format!("error: {}\nhint: {}", failure.message, failure.hint));
            if let Some(request) = failure.request {
                let reached = match failure.exit {
                    Exit::Unreachable => " if it came that far",
                    Exit::Failed | Exit::NotPermitted => "",
                };
                to_stderr(&format!(
                    "request: {request}, in the license server's log{reached}"
                ));
            }
        }
    }

    /// A progress bar over `total` bytes, if somebody is watching.
    pub(crate) fn progress(self, total: Option<u64>) -> ProgressBar {
        if self.quiet || self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = "{bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        bar.with_style(style)
    }
}

fn unprinted(error: &std::io::Error) -> Failure {
    Failure::new(
        format!("cannot write to standard output: {error}"),
        "check where the output goes",
    )
}

/// A line on standard error; one that cannot be written has nobody who would read about it.
fn to_stderr(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

/// A point in time for people: RFC 3339, UTC.
pub(crate) fn time(time: Timestamp) -> String {
    i64::try_from(time.0)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(
            || format!("{} seconds after 1970", time.0),
            |time| time.to_string(),
        )
}

/// Until when something holds, for people.
pub(crate) fn until(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "without end".to_owned(), |end| format!("until {}", time(end)))
}

/// A JSON object with some more fields.
pub(crate) fn with<const N: usize>(
    mut object: serde_json::Value,
    fields: [(&str, serde_json::Value); N],
) -> serde_json::Value {
    if let Some(known) = object.as_object_mut() {
        known.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
    object
}

/// A length of time for people: in the largest unit that it is a whole number of.
pub(crate) fn seconds(seconds: u64) -> String {
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let fitting = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = fitting.unwrap_or((1, "second"));
    match seconds / unit {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

/// Text of a stranger, for people: in quotes, with what controls a terminal or reorders text escaped, and
/// cut off where it is long.
pub(crate) fn quoted(text: &str) -> String {
    let cut = text
        .char_indices()
        .nth(LONGEST_TEXT)
        .map(|(end, _)| text.split_at(end));
    match cut {
        Some((shown, rest)) => format!("{shown:?} and {} bytes more", rest.len()),
        None => format!("{text:?}"),
    }
}

/// Longest text of a stranger that is printed whole, in characters.
const LONGEST_TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_in_whole_units() {
        for (length, words) in [
            (172_800, "2 days"),
            (86_400, "1 day"),
            (90_000, "25 hours"),
            (60, "1 minute"),
            (61, "61 seconds"),
        ] {
            assert_eq!(seconds(length), words);
        }
    }
}
