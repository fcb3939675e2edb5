//! The legacy form: `?PlayRight=1&FirstPlayExpiration=60`, one license, stored unless the client wants none to store.

use super::{
    Fault,
    brackets::{Item, Value},
};

/// The names of the form, each with the parameter that it is now, and whether it is a flag.
const NAMES: [(&str, &str, bool); 7] = [
    ("PlayRight", "playright", true),
    ("FirstPlayExpiration", "firstexp", false),
    ("UseSimpleNonPersistentLicense", "simple", true),
    ("UncompressedDigitalVideoOPL", "ucvopl", false),
    ("AnalogVideoOPL", "avopl", false),
    ("AccountID", "accountid", false),
    ("ErrorCode", "errorcode", false),
];

/// Reads the pairs of a query as one group.
pub(super) fn group(pairs: Vec<(String, String)>) -> Result<Vec<Item>, Fault> {
    let mut items = vec![item("persist", "true".to_owned())];
    for (name, value) in pairs {
        let known = NAMES
            .iter()
            .find(|(legacy, ..)| legacy.eq_ignore_ascii_case(&name));
        let (_, parameter, is_flag) = known.ok_or(Fault::Form(NO_FORM))?;
        items.push(item(parameter, if *is_flag { flag(value) } else { value }));
    }
    Ok(items)
}

const NO_FORM: &str = "its query is none of `cfg=`, `cfg64=` and the legacy form, which has PlayRight, FirstPlayExpiration, UseSimpleNonPersistentLicense, UncompressedDigitalVideoOPL, AnalogVideoOPL, AccountID and ErrorCode";

/// Flags were numbers.
fn flag(value: String) -> String {
    match &value[..] {
        "1" => "true".to_owned(),
        "0" => "false".to_owned(),
        _ => value,
    }
}

fn item(name: &str, value: String) -> Item {
    Item {
        name: Some(name.to_owned()),
        value: Value::Text(value),
    }
}
