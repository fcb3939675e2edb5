//! Rule ids: what `spec/rules.md` numbers is enforced in the code and tried by a test.
//!
//! An id is `V-` (verification step) or `R-` (usage rule) and three digits. The specification defines it at
//! the start of a heading or of a table row. It has to stand in product code, comments included; at an error,
//! in the comment of a variant or in a string; and in a test, there also as part of a name (`v_012`). No other
//! number may be used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{root, say};
use crate::sources::{self, Source};

const SPECIFICATION: &str = "spec/rules.md";

/// Fails with a list of the ids that are missing in one of the four places.
pub(crate) fn check() -> Result<()> {
    let path = root().join(SPECIFICATION);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (defined, mut faults) = defined(&text);
    if defined.is_empty() {
        bail!("{SPECIFICATION} defines no rule");
    }
    faults.extend(compare(&defined, &sources(&root())?));
    if !faults.is_empty() {
        bail!(
            "{} faults between {SPECIFICATION} and the crates\n{}",
            faults.len(),
            faults.join("\n")
        );
    }
    say(format!(
        "rules: {} ids, each in code, at an error and in a test",
        defined.len()
    ));
    Ok(())
}

/// All sources of all crates. What `testkit` holds serves tests only, so it counts as test.
fn sources(top: &Path) -> Result<Vec<Source>> {
    let crates = top.join("crates");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&crates).with_context(|| format!("cannot list {}", crates.display()))? {
        let folder = entry
            .with_context(|| format!("cannot list {}", crates.display()))?
            .path();
        let mut of_crate = sources::of_crate(&folder, top)?;
        if folder.ends_with("testkit") {
            of_crate
                .iter_mut()
                .flat_map(|source| &mut source.lines)
                .for_each(|line| line.is_test = true);
        }
        all.append(&mut of_crate);
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

/// Ids that the specification defines, and a fault for each that it defines twice.
fn defined(text: &str) -> (BTreeSet<String>, Vec<String>) {
    let mut defined = BTreeSet::new();
    let mut faults = Vec::new();
    let heads = text
        .lines()
        .filter_map(|line| line.strip_prefix("### ").or_else(|| line.strip_prefix('|')));
    for head in heads {
        let first = head
            .trim_start()
            .split([' ', '|', ':'])
            .next()
            .unwrap_or_default();
        if ids(first).any(|id| id == first) && !defined.insert(first.to_owned()) {
            faults.push(format!("{first} is defined twice in {SPECIFICATION}"));
        }
    }
    (defined, faults)
}

fn compare(defined: &BTreeSet<String>, sources: &[Source]) -> Vec<String> {
    let mut found = Found::default();
    for source in sources {
        for at in 0..source.lines.len() {
            found.look(source, at, defined);
        }
    }
    let not_in = |place: &str, seen: &BTreeSet<String>| -> Vec<String> {
        defined
            .difference(seen)
            .map(|id| format!("{id} is defined and {place}"))
            .collect()
    };
    let unknown = found
        .unknown
        .iter()
        .map(|(id, place)| format!("{id} in {place} is not defined"));
    [
        not_in("in no product code", &found.in_code),
        not_in("at no error", &found.at_errors),
        not_in("in no test", &found.in_tests),
        unknown.collect(),
    ]
    .concat()
}

/// Where ids were seen.
#[derive(Default)]
struct Found {
    in_code: BTreeSet<String>,
    at_errors: BTreeSet<String>,
    in_tests: BTreeSet<String>,
    /// Ids that the specification does not define, with the place of the first.
    unknown: BTreeMap<String, String>,
}

impl Found {
    fn look(&mut self, source: &Source, at: usize, defined: &BTreeSet<String>) {
        let Some(line) = source.lines.get(at) else { return };
        let here = || ids(&line.text).map(str::to_owned);
        for id in here().filter(|id| !defined.contains(id)) {
            self.unknown
                .entry(id)
                .or_insert_with(|| format!("{}:{}", source.path.display(), at + 1));
        }
        if line.is_test {
            self.in_tests.extend(here().chain(ids_in_names(&line.text)));
            return;
        }
        self.in_code.extend(here());
        if is_quoted(&line.text) || is_on_variant(source, at) {
            self.at_errors.extend(here());
        }
    }
}

fn is_quoted(text: &str) -> bool {
    !text.trim_start().starts_with("//") && text.contains('"')
}

/// Whether the documentation on this line belongs to a variant of an enum.
fn is_on_variant(source: &Source, at: usize) -> bool {
    let mut below = source.lines.iter().skip(at).map(|line| line.text.trim_start());
    let is_documentation = below.clone().next().is_some_and(|text| text.starts_with("///"));
    let item = below.find(|text| !text.starts_with(['/', '#', '"', ')']));
    is_documentation && item.is_some_and(|text| text.starts_with(|letter: char| letter.is_ascii_uppercase()))
}

/// Ids as the specification writes them, standing alone.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    words(text, |letter| letter.is_ascii_alphanumeric() || letter == '-').filter(|word| {
        let digits = word.strip_prefix("V-").or_else(|| word.strip_prefix("R-"));
        digits.is_some_and(is_number)
    })
}

/// Ids as parts of snake case names: `refuses_v_012` and `v012_is_refused` both name V-012.
fn ids_in_names(text: &str) -> impl Iterator<Item = String> {
    let parts: Vec<&str> = words(text, |letter| letter.is_ascii_alphanumeric()).collect();
    let alone = parts
        .clone()
        .into_iter()
        .filter_map(|part| part.split_at_checked(1));
    let pairs = parts.clone().into_iter().zip(parts.into_iter().skip(1));
    let named = alone
        .chain(pairs)
        .filter(|(kind, digits)| ["v", "r"].contains(kind) && is_number(digits));
    named
        .map(|(kind, digits)| format!("{}-{digits}", kind.to_ascii_uppercase()))
        .collect::<Vec<_>>()
        .into_iter()
}

fn words(text: &str, is_part: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    text.split(move |letter| !is_part(letter))
        .filter(|word| !word.is_empty())
}

fn is_number(digits: &str) -> bool {
    digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Line;

    fn source(lines: &[(&str, bool)]) -> Source {
        let lines = lines.iter().map(|(text, is_test)| Line {
            text: (*text).to_owned(),
            is_test: *is_test,
        });
        Source {
            path: "crates/license/src/verify.rs".into(),
            lines: lines.collect(),
        }
    }

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn headings_and_rows_define_and_mentions_do_not() {
        let text = "### V-001 Signature\nsee V-002\n| V-003 | text R-004 |\n|R-005|x|\n| id | V-006 |\n### V-001 again\n";
        let (defined, faults) = defined(text);
        assert_eq!(defined, set(&["V-001", "V-003", "R-005"]));
        assert_eq!(faults, ["V-001 is defined twice in spec/rules.md"]);
    }

    #[test]
    fn a_rule_in_code_at_an_error_and_in_a_test_passes() {
        let by_variant = [
            ("/// V-001: the chain is refused.", false),
            ("#[error(\"why\")]", false),
            ("Chain,", false),
            ("fn refuses_v_001() {", true),
        ];
        assert_eq!(
            compare(&set(&["V-001"]), &[source(&by_variant)]),
            Vec::<String>::new()
        );
        let by_string = [("Self::Ended => \"R-007\",", false), ("/// R-007 holds", true)];
        assert_eq!(
            compare(&set(&["R-007"]), &[source(&by_string)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_rule_missing_in_one_place_is_named_with_it() {
        let code = [
            ("// V-001", false),
            ("/// V-001", false),
            ("pub fn verify() {", false),
            ("// V-002", true),
        ];
        let faults = compare(&set(&["V-001", "V-002"]), &[source(&code)]);
        let expected = [
            "V-002 is defined and in no product code",
            "V-001 is defined and at no error",
            "V-002 is defined and at no error",
            "V-001 is defined and in no test",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn an_id_that_is_not_defined_is_named_with_its_place() {
        let faults = compare(
            &set(&["V-001"]),
            &[source(&[("\"V-001\"", false), ("v001 // V-099", true)])],
        );
        assert_eq!(faults, ["V-099 in crates/license/src/verify.rs:2 is not defined"]);
    }

    #[test]
    fn only_whole_ids_count() {
        assert_eq!(ids("V-0123 XV-012 V-12 AR-001 V-001a").count(), 0);
        assert_eq!(ids("(V-012, `R-007`)").collect::<Vec<_>>(), ["V-012", "R-007"]);
        assert_eq!(ids_in_names("fn ipv_012a_and_secp256r1()").count(), 0);
        assert_eq!(
            ids_in_names("fn v_012_and_r007()").collect::<Vec<_>>(),
            ["R-007", "V-012"]
        );
    }
}
