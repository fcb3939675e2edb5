//! What the sources of a crate may not touch, and the lints every crate inherits.

use super::law::{PACKAGER, SANS_IO};
use crate::sources::{Source, code_only};

/// Paths a crate may not write in product code, and why.
struct Ban {
    path: &'static str,
    why: &'static str,
}

/// Everything in this file that the crate is not meant to touch, one line each with its place.
pub(super) fn faults(name: &str, source: &Source) -> Vec<String> {
    let place = |line: usize| format!("{}:{line}", source.path.display());
    let product = code(source, |is_test| !is_test);
    let bans = bans(name);
    let touched = bans
        .iter()
        .flat_map(|ban| uses(&product, ban.path).into_iter().map(move |line| (line, ban)));
    let touched = touched.map(|(line, ban)| format!("{} uses {}: {}", place(line), ban.path, ban.why));
    let all = code(source, |_| true);
    let unsafe_code = words(&all, "unsafe")
        .into_iter()
        .map(|line| format!("{} says unsafe: no crate here may", place(line)));
    touched.chain(unsafe_code).collect()
}

/// The lints of the workspace hold only where a manifest inherits them.
pub(super) fn lints_fault(name: &str, manifest: &str) -> Option<String> {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    let inherits = lines.next() == Some("workspace = true");
    (!inherits).then(|| {
        format!("{name} does not inherit the lints: its manifest needs `[lints]` with `workspace = true`")
    })
}

fn bans(name: &str) -> &'static [Ban] {
    if SANS_IO.contains(&name) {
        &WORLD
    } else if name == PACKAGER {
        &FILES_AND_SOCKETS
    } else {
        &[]
    }
}

/// The code of a file, line for line, with other lines left blank.
fn code(source: &Source, wanted: impl Fn(bool) -> bool) -> String {
    let lines = source.lines.iter().map(|line| {
        if wanted(line.is_test) {
            code_only(&line.text)
        } else {
            String::new()
        }
    });
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// Lines on which `path` stands, written out or as a member of a group `std::{...}`.
fn uses(code: &str, path: &str) -> Vec<usize> {
    let mut lines = words(code, path);
    if let Some(module) = path.strip_prefix("std::") {
        let groups = code.match_indices("std::{").map(|(at, head)| at + head.len());
        let members = groups.flat_map(|start| group_members(code, start));
        lines.extend(
            members
                .filter(|(_, member)| *member == module)
                .map(|(at, _)| line_of(code, at)),
        );
    }
    lines.sort_unstable();
    lines
}

/// First path segment of each member of the group that starts at `start`, with its place.
fn group_members(code: &str, start: usize) -> Vec<(usize, &str)> {
    let mut depth = 0_u32;
    let mut begin = start;
    let mut members = Vec::new();
    for (at, letter) in code.get(start..).unwrap_or_default().char_indices() {
        let at = start + at;
        match letter {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                members.extend(first_segment(code, begin, at));
                begin = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    members
}

fn first_segment(code: &str, begin: usize, end: usize) -> Option<(usize, &str)> {
    let member = code.get(begin..end)?;
    let at = begin + member.find(|letter: char| !letter.is_whitespace())?;
    let segment = code.get(at..end)?.split(|letter: char| !is_name(letter)).next()?;
    Some((at, segment))
}

/// Lines on which `needle` stands as a whole name.
fn words(code: &str, needle: &str) -> Vec<usize> {
    let whole = code.match_indices(needle).filter(|(at, _)| {
        let before = code.get(..*at).and_then(|text| text.chars().next_back());
        let after = code.get(at + needle.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    });
    whole.map(|(at, _)| line_of(code, at)).collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code.get(..at).unwrap_or_default().matches('\n').count() + 1
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

const FILES: &str = "files belong to `client-native` and `cli`";
const SOCKETS: &str = "sockets belong to `server` and `cli`";
const THREADS: &str = "threads belong to `packager`, `server` and `cli`";
const CLOCK: &str = "time is a parameter";

const WORLD: [Ban; 5] = [
    Ban {
        path: "std::fs",
        why: FILES,
    },
    Ban {
        path: "std::net",
        why: SOCKETS,
    },
    Ban {
        path: "std::thread",
        why: THREADS,
    },
    Ban {
        path: "SystemTime::now",
        why: CLOCK,
    },
    Ban {
        path: "Instant::now",
        why: CLOCK,
    },
];

const FILES_AND_SOCKETS: [Ban; 4] = [
    Ban {
        path: "std::fs",
        why: FILES,
    },
    Ban {
        path: "std::net",
        why: SOCKETS,
    },
    Ban {
        path: "SystemTime::now",
        why: CLOCK,
    },
    Ban {
        path: "Instant::now",
        why: CLOCK,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrows::law::{CLIENT, SERVER};
    use crate::sources::Line;

    fn source(lines: &[(&str, bool)]) -> Source {
        let lines = lines.iter().map(|(text, is_test)| Line {
            text: (*text).to_owned(),
            is_test: *is_test,
        });
        Source {
            path: "src/a.rs".into(),
            lines: lines.collect(),
        }
    }

    #[test]
    fn the_world_is_refused_in_product_code() {
        let world = [
            "std::fs::read(p)",
            "use std::net::TcpStream;",
            "std::thread::spawn(f)",
            "SystemTime::now()",
            "Instant::now()",
        ];
        for line in world {
            let faults = faults(CLIENT, &source(&[("", false), (line, false)]));
            assert_eq!(faults.len(), 1, "{line}: {faults:?}");
            assert!(faults[0].starts_with("src/a.rs:2 uses "), "{faults:?}");
        }
    }

    #[test]
    fn a_grouped_import_is_refused_with_its_line() {
        let group = [
            ("use std::{", false),
            ("    collections::{BTreeMap, fs_like},", false),
            ("    fs::File, net,", false),
            ("};", false),
        ];
        let found = faults(CLIENT, &source(&group));
        let expected = [
            "src/a.rs:3 uses std::fs: files belong to `client-native` and `cli`",
            "src/a.rs:3 uses std::net: sockets belong to `server` and `cli`",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn tests_comments_strings_and_longer_names_may_say_it() {
        let harmless = [
            ("std::fs::read(p)", true),
            ("// std::fs", false),
            ("let a = \"std::fs\";", false),
            ("std::fs_like()", false),
        ];
        assert_eq!(faults(CLIENT, &source(&harmless)), Vec::<String>::new());
        assert_eq!(
            faults(SERVER, &source(&[("std::fs::read(p)", false)])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn the_packager_may_spawn_threads_and_open_nothing() {
        assert_eq!(
            faults(PACKAGER, &source(&[("std::thread::scope(f)", false)])),
            Vec::<String>::new()
        );
        assert_eq!(
            faults(PACKAGER, &source(&[("std::fs::File::open(p)", false)])).len(),
            1
        );
    }

    #[test]
    fn unsafe_is_refused_everywhere() {
        for is_test in [false, true] {
            let found = faults(
                SERVER,
                &source(&[("unsafe { a() }", is_test), ("unsafe_code(b)", is_test)]),
            );
            assert_eq!(found, ["src/a.rs:1 says unsafe: no crate here may"]);
        }
    }

    #[test]
    fn a_manifest_without_the_lints_is_refused() {
        assert_eq!(lints_fault("a", "[package]\n\n[lints]\nworkspace = true\n"), None);
        assert!(lints_fault("a", "[package]\nworkspace = true\n").is_some());
        assert!(lints_fault("a", "[lints]\nrust.unsafe_code = \"allow\"\n").is_some());
    }
}
