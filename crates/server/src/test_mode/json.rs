//! The JSON form: an array of objects, one a license, whose values are strings in single or double quotes. A value is
//! written as in the bracket form.

use core::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::{
    Fault,
    brackets::{self, Item, MAX_GROUPS, MAX_LENGTH},
};

/// Reads the array.
pub(super) fn groups(text: &str) -> Result<Vec<Vec<Item>>, Fault> {
    if text.len() > MAX_LENGTH {
        return Err(Fault::Form("it is longer than 16384 bytes"));
    }
    let objects: Vec<Object> = serde_json::from_str(&double_quoted(text))
        .map_err(|_| Fault::Form("it is not a JSON array of objects whose values are quoted strings"))?;
    if objects.len() > MAX_GROUPS {
        return Err(Fault::Form("it has more than 64 groups"));
    }
    objects
        .into_iter()
        .map(|Object(entries)| items(entries))
        .collect()
}

fn items(entries: Vec<(String, String)>) -> Result<Vec<Item>, Fault> {
    let item = |(name, value): (String, String)| {
        Ok(Item {
            name: Some(brackets::checked(&name)?.to_owned()),
            value: brackets::value(&value)?,
        })
    };
    entries.into_iter().map(item).collect()
}

/// The same with every string in double quotes, which JSON has alone (RFC 8259 §7).
fn double_quoted(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let (mut quote, mut escaped) = (None, false);
    for letter in text.chars() {
        match (quote, letter) {
            (Some('\''), '\'') if escaped => {
                // JSON escapes no apostrophe.
                written.pop();
                written.push('\'');
            }
            (None, '\'' | '"') => {
                quote = Some(letter);
                written.push('"');
            }
            (Some(open), _) if letter == open && !escaped => {
                quote = None;
                written.push('"');
            }
            (Some('\''), '"') if !escaped => written.push_str("\\\""),
            _ => written.push(letter),
        }
        escaped = quote.is_some() && letter == '\\' && !escaped;
    }
    written
}

/// The entries of an object in their order, also those that it has twice.
struct Object(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object, M::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_quotes_become_double_ones() {
        for (single, double) in [
            ("[{'kid':'a','sl':'3000'}]", r#"[{"kid":"a","sl":"3000"}]"#),
            (r#"{'a':'say "b"'}"#, r#"{"a":"say \"b\""}"#),
            (r"{'a':'it\'s'}", r#"{"a":"it's"}"#),
            (r#"{'a':'\"b\\'}"#, r#"{"a":"\"b\\"}"#),
            (r#"{"a":"it's"}"#, r#"{"a":"it's"}"#),
            (r#"{"a":"\"'"}"#, r#"{"a":"\"'"}"#),
        ] {
            assert_eq!(double_quoted(single), double);
            assert!(
                serde_json::from_str::<serde_json::Value>(double).is_ok(),
                "{double}"
            );
        }
    }

    #[test]
    fn the_json_form_reads_as_the_bracket_form_does() {
        let json = "[{'persist':'true','dvop':'(guid:A,data:B==)'},\n {}]";
        let same = brackets::groups("(persist:true,dvop:(guid:A,data:B==)),()").unwrap();
        assert_eq!(groups(json).unwrap(), same);
        let twice = groups("[{'sl':'150','sl':'2000'}]").unwrap();
        assert_eq!(twice[0].len(), 2, "what stands twice is for the reader to refuse");
        for refused in [
            "",
            "{}",
            "[{'persist':true}]",
            "[{'persist':'true'}",
            "[{'persist':'true'}]]",
            "[{'dvop':{'guid':'A'}}]",
            "[{'per sist':'true'}]",
            "[{'persist':''}]",
            "[[]]",
        ] {
            assert!(groups(refused).is_err(), "{refused}");
        }
    }
}
