//! Words: one field a line, each level indented by two.

use super::{Explanation, Fields, Standing, Value};
use crate::report;

/// The words, line by line.
#[derive(Default)]
pub(super) struct Lines(Vec<String>);

impl Lines {
    pub(super) fn into_text(self) -> String {
        self.0.join("\n")
    }

    fn push(&mut self, level: usize, text: &str) {
        self.0.push(format!("{:indent$}{text}", "", indent = level * 2));
    }

    pub(super) fn explanation(&mut self, level: usize, found: &Explanation) {
        let from = found
            .encoding
            .map_or_else(String::new, |encoding| format!(", from {encoding} text"));
        let (kind, size) = (
            found.kind.words(),
            Value::Size(found.bytes).inline().unwrap_or_default(),
        );
        self.push(level, &format!("{kind}, {size}{from}"));
        let standing = match &found.standing {
            Standing::Verified {
                operator,
                operator_name,
                at,
            } => format!(
                "verified under operator {operator} ({}), at {}",
                report::quoted(operator_name),
                report::time(*at)
            ),
            Standing::Unverified { reason } => format!("unverified: {reason}"),
        };
        self.push(level + 1, &standing);
        self.fields(level + 2, &found.fields);
        if !found.not_checked.is_empty() {
            self.push(level + 1, "not checked");
            for what in &found.not_checked {
                self.push(level + 2, what);
            }
        }
        if let Some(inside) = &found.inside {
            self.push(level + 1, "inside");
            self.explanation(level + 2, inside);
        }
    }

    fn fields(&mut self, level: usize, fields: &Fields) {
        let lines: Vec<_> = fields
            .0
            .iter()
            .filter(|(_, value)| !matches!(value, Value::Absent))
            .map(|(name, value)| (label(name), value.inline(), value))
            .collect();
        let inline = lines.iter().filter(|(_, inline, _)| inline.is_some());
        let width = inline.map(|(name, ..)| name.len()).max().unwrap_or_default();
        for (name, inline, value) in lines {
            match inline {
                Some(words) => self.push(level, &format!("{name:width$}  {words}")),
                None => {
                    self.push(level, &name);
                    self.block(level + 1, value);
                }
            }
        }
    }

    /// A value that does not fit behind its name.
    fn block(&mut self, level: usize, value: &Value) {
        match value {
            Value::Fields(fields) => self.fields(level, fields),
            Value::Explained(explanation) => self.explanation(level, explanation),
            Value::List(items) => items.iter().for_each(|item| self.item(level, item)),
            other => self.push(level, &other.inline().unwrap_or_default()),
        }
    }

    /// An item of a list, with a dash before its first line.
    fn item(&mut self, level: usize, item: &Value) {
        let first = self.0.len();
        self.block(level + 1, item);
        if let Some(line) = self.0.get_mut(first) {
            let (indent, text) = (level * 2, line.trim_start().to_owned());
            *line = format!("{:indent$}- {text}", "");
        }
    }
}

/// The name of a field for people.
fn label(name: &str) -> String {
    let words = name
        .trim_end_matches("_bytes")
        .trim_end_matches("_ms")
        .split('_')
        .map(|word| match word {
            "kid" => "key id",
            "kids" => "key ids",
            "url" => "URL",
            "iv" => "IV",
            word => word,
        });
    words.collect::<Vec<_>>().join(" ")
}
