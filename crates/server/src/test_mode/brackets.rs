//! The bracket form: groups of named values that hold groups again.
//!
//! ```text
//!  groups = group *("," group)
//!  group  = "(" [item *("," item)] ")"
//!  item   = [name ":"] (text / group)
//!  text   = 1*(visible ASCII but "(" ")" ",")
//!  name   = 1*32(letter / digit), up to the first ":" of its item
//! ```

use super::Fault;

/// Longest test request, in bytes, in whatever form.
pub const MAX_LENGTH: usize = 16 * 1024;
/// Most groups: licenses of one test request.
pub const MAX_GROUPS: usize = 64;
/// How deep groups may stand in one another; the deepest that means something is a license's extended right with
/// restrictions.
const MAX_DEPTH: usize = 4;
/// Most items of one group.
const MAX_ITEMS: usize = 128;
/// Longest name.
const MAX_NAME: usize = 32;

/// What stands in a place of a test request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Group(Vec<Item>),
}

/// A value, and what it is called if it has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: Option<String>,
    pub(super) value: Value,
}

/// Reads groups, one after the other.
pub(super) fn groups(text: &str) -> Result<Vec<Vec<Item>>, Fault> {
    let mut cursor = Cursor::new(text)?;
    let mut groups = Vec::new();
    loop {
        if groups.len() == MAX_GROUPS {
            return Err(Fault::Form("it has more than 64 groups"));
        }
        groups.push(cursor.group(MAX_DEPTH)?);
        if !cursor.eats(',') {
            break;
        }
    }
    cursor.end(groups)
}

/// Reads one value: a text, or a group.
pub(super) fn value(text: &str) -> Result<Value, Fault> {
    let mut cursor = Cursor::new(text)?;
    let value = match text.chars().next() {
        None => return Err(Fault::Form("a value is empty")),
        Some('(') => Value::Group(cursor.group(MAX_DEPTH)?),
        Some(_) => Value::Text(cursor.text().to_owned()),
    };
    cursor.end(value)
}

/// What is left to read.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Result<Self, Fault> {
        if text.len() > MAX_LENGTH {
            return Err(Fault::Form("it is longer than 16384 bytes"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Fault::Form("it holds a space, or what is not ASCII"));
        }
        Ok(Self(text))
    }

    fn eats(&mut self, letter: char) -> bool {
        let rest = self.0.strip_prefix(letter);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Everything up to a bracket or comma.
    fn text(&mut self) -> &'a str {
        let end = self.0.find(['(', ')', ',']).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        text
    }

    fn end<T>(&self, read: T) -> Result<T, Fault> {
        match self.0.is_empty() {
            true => Ok(read),
            false => Err(Fault::Form("something stands behind its end")),
        }
    }

    fn group(&mut self, depth: usize) -> Result<Vec<Item>, Fault> {
        let depth = depth.checked_sub(1);
        let depth = depth.ok_or(Fault::Form("its brackets are nested too deep"))?;
        if !self.eats('(') {
            return Err(Fault::Form("a group does not begin with `(`"));
        }
        let mut items = Vec::new();
        if self.eats(')') {
            return Ok(items);
        }
        loop {
            if items.len() == MAX_ITEMS {
                return Err(Fault::Form("a group has more than 128 entries"));
            }
            items.push(self.item(depth)?);
            if self.eats(')') {
                return Ok(items);
            }
            if !self.eats(',') {
                return Err(Fault::Form("a bracket is not closed"));
            }
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, Fault> {
        let text = self.text();
        let (name, text) = match text.split_once(':') {
            Some((name, text)) => (Some(checked(name)?.to_owned()), text),
            None => (None, text),
        };
        let value = match (text.is_empty(), self.0.starts_with('(')) {
            (true, true) => Value::Group(self.group(depth)?),
            (false, false) => Value::Text(text.to_owned()),
            (true, false) => return Err(Fault::Form("a value is empty")),
            (false, true) => return Err(Fault::Form("a bracket opens inside a value")),
        };
        Ok(Item { name, value })
    }
}

/// A name, if it may be one: what is told of it in an error is bounded.
pub(super) fn checked(name: &str) -> Result<&str, Fault> {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if letters && (1..=MAX_NAME).contains(&name.len()) {
        Ok(name)
    } else {
        Err(Fault::Form("a name is not 1 to 32 letters and digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn named(name: &str, value: Value) -> Item {
        Item {
            name: Some(name.to_owned()),
            value,
        }
    }

    fn plain(value: Value) -> Item {
        Item { name: None, value }
    }

    #[test]
    fn groups_hold_texts_and_groups() {
        let read = groups("(persist:true,keyseed:a+b/c==),(playenablers:(X,Y),e:((t:1),(t:2))),()").unwrap();
        let enablers = Value::Group(vec![plain(text("X")), plain(text("Y"))]);
        let extended = ["1", "2"].map(|kind| plain(Value::Group(vec![named("t", text(kind))])));
        assert_eq!(
            read,
            [
                vec![named("persist", text("true")), named("keyseed", text("a+b/c=="))],
                vec![
                    named("playenablers", enablers),
                    named("e", Value::Group(extended.to_vec()))
                ],
                vec![],
            ]
        );
        assert_eq!(value("a:b"), Ok(text("a:b")));
        assert_eq!(value("(a:b)"), Ok(Value::Group(vec![named("a", text("b"))])));
    }

    #[test]
    fn what_is_no_group_is_refused_with_the_reason() {
        let long = format!("({})", "a".repeat(MAX_LENGTH));
        let items = format!("({})", ["a"; MAX_ITEMS + 1].join(","));
        let many = ["()"; MAX_GROUPS + 1].join(",");
        for (input, expected) in [
            ("", "begin"),
            ("persist:true", "begin"),
            ("(persist:true", "not closed"),
            ("(persist:true))", "behind its end"),
            ("(),", "begin"),
            ("(persist:)", "empty"),
            ("(,)", "empty"),
            ("(a(b))", "inside a value"),
            ("(a:b(c))", "inside a value"),
            ("(:b)", "name"),
            ("(per-sist:true)", "name"),
            ("(persist: true)", "space"),
            ("(persist:tr\u{fc}e)", "ASCII"),
            ("(a:(b:(c:(d:(e:f)))))", "too deep"),
            (&long, "longer"),
            (&items, "128"),
            (&many, "64"),
        ] {
            let fault = groups(input).unwrap_err().to_string();
            assert!(fault.contains(expected), "{input}: {fault}");
        }
    }
}
