//! Rust sources as lines, each known to be product or test.
//!
//! Product is what ends up in a library or program. Test is everything under `tests/`, `benches/` and
//! `examples/`, and in `src/` each item after `#[cfg(test)]`: an inline module to the end of the file (clippy
//! refuses items after a test module), a module of its own with all its files, any other item by its
//! indentation, which rustfmt guarantees.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it is to be shown: relative to the top of the tree where it lies below it.
    pub(crate) path: PathBuf,
    pub(crate) lines: Vec<Line>,
}

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) is_test: bool,
}

impl Source {
    fn parse(path: PathBuf, text: &str, is_test: bool) -> Self {
        let marked = if is_test {
            vec![true; text.lines().count()]
        } else {
            test_lines(text)
        };
        let lines = text.lines().zip(marked);
        let lines = lines
            .map(|(text, is_test)| Line {
                text: text.to_owned(),
                is_test,
            })
            .collect();
        Self { path, lines }
    }
}

/// All Rust sources of the crate in `folder`, in the order of their paths.
pub(crate) fn of_crate(folder: &Path, top: &Path) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut read = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        read.push((file, text));
    }
    let test_modules: Vec<PathBuf> = read
        .iter()
        .flat_map(|(file, text)| test_modules(file, text))
        .collect();
    let sources = read.into_iter().map(|(file, text)| {
        let inside = file.strip_prefix(folder).unwrap_or(&file);
        let is_test = ["tests", "benches", "examples"]
            .iter()
            .any(|part| inside.starts_with(part))
            || test_modules
                .iter()
                .any(|module| file == module.with_extension("rs") || file.starts_with(module));
        let shown = file.strip_prefix(top).unwrap_or(&file).to_path_buf();
        Source::parse(shown, &text, is_test)
    });
    Ok(sources.collect())
}

/// The line without its comment and without what stands between quotes.
pub(crate) fn code_only(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            break;
        }
        let skipped = match first {
            '"' => quoted(rest),
            '\'' if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") => {
                rest.get(1..).and_then(|r| r.find('\'')).map(|at| at + 2)
            }
            _ => None,
        };
        match skipped {
            Some(length) => rest = rest.get(length..).unwrap_or_default(),
            None => {
                code.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    code
}

/// Length of the string literal at the start of `text`, quotes included, if it ends on this line.
fn quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// For each line whether it belongs to an item after `#[cfg(test)]`.
fn test_lines(text: &str) -> Vec<bool> {
    let lines: Vec<&str> = text.lines().collect();
    let mut marked = vec![false; lines.len()];
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let end = if is_test_attribute(line) {
            at + item_length(lines.get(at..).unwrap_or_default())
        } else {
            at
        };
        if let Some(item) = marked.get_mut(at..end) {
            item.fill(true);
        }
        at = end.max(at + 1);
    }
    marked
}

/// Number of lines of the item whose attribute stands first in `lines`.
fn item_length(lines: &[&str]) -> usize {
    let indent = lines.first().map_or(0, |line| indentation(line));
    let item = lines.iter().position(|line| is_item(line)).unwrap_or(0);
    if lines
        .get(item)
        .is_some_and(|line| module_name(line).is_some() && line.ends_with('{'))
    {
        return lines.len();
    }
    let mut rest = lines.iter().enumerate().skip(item);
    let last =
        rest.find(|(_, line)| indentation(line) == indent && line.trim_end().ends_with([';', '}', ',']));
    last.map_or(lines.len(), |(at, _)| at + 1)
}

/// Files or folders, without extension, of the modules that `file` declares for tests only.
fn test_modules(file: &Path, text: &str) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap_or_default();
    let parent = file.parent().unwrap_or(file);
    let is_folder = ["lib", "main", "mod"].iter().any(|name| stem == *name);
    let base = if is_folder {
        parent.to_path_buf()
    } else {
        parent.join(stem)
    };
    let lines: Vec<&str> = text.lines().collect();
    let attributes = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| is_test_attribute(line));
    let items = attributes.filter_map(|(at, _)| lines.get(at..)?.iter().find(|line| is_item(line)));
    items
        .filter(|line| line.ends_with(';'))
        .filter_map(|line| module_name(line))
        .map(|name| base.join(name))
        .collect()
}

fn is_test_attribute(line: &str) -> bool {
    line.trim_start().starts_with("#[cfg(test)]")
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    !(line.is_empty() || line.starts_with("#[") || line.starts_with("//"))
}

fn module_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let after = ["pub(crate) mod ", "pub(super) mod ", "pub mod ", "mod "]
        .iter()
        .find_map(|head| line.strip_prefix(head))?;
    after.split([';', ' ']).next()
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(text: &str) -> String {
        test_lines(text)
            .iter()
            .map(|is_test| if *is_test { 't' } else { 'p' })
            .collect()
    }

    #[test]
    fn an_inline_test_module_runs_to_the_end_of_the_file() {
        assert_eq!(
            marks("fn a() {}\n#[cfg(test)]\nmod tests {\n    const JSON: &str = \"\n}\n\";\n}\n"),
            "ptttttt"
        );
    }

    #[test]
    fn a_test_item_ends_where_it_ends() {
        assert_eq!(marks("#[cfg(test)]\nuse a::b;\nfn c() {}\n"), "ttp");
        assert_eq!(marks("#[cfg(test)]\nmod tests;\nfn c() {}\n"), "ttp");
        assert_eq!(
            marks("#[cfg(test)]\n#[test]\nfn b() {\n    c();\n}\nfn d() {\n}\n"),
            "tttttpp"
        );
        assert_eq!(
            marks("impl A {\n    #[cfg(test)]\n    fn b() {\n        c();\n    }\n\n    fn d() {}\n}\n"),
            "pttttppp"
        );
    }

    #[test]
    fn files_of_test_modules_and_test_folders_are_tests() {
        let top = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = top.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("src/lib.rs", "mod a;\n#[cfg(test)]\nmod proof;\n");
        write("src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n");
        write("src/a/tests.rs", "fn t() {}\n");
        write("src/proof/deep.rs", "fn t() {}\n");
        write("tests/story.rs", "fn t() {}\n");
        write("src/tests.rs", "fn not_declared_for_tests() {}\n");
        let sources = of_crate(top.path(), top.path()).unwrap();
        let last_lines: Vec<(&str, bool)> = sources
            .iter()
            .map(|source| {
                (
                    source.path.to_str().unwrap(),
                    source.lines.last().unwrap().is_test,
                )
            })
            .collect();
        let expected = [
            ("src/a/tests.rs", true),
            ("src/a.rs", false),
            ("src/lib.rs", true),
            ("src/proof/deep.rs", true),
            ("src/tests.rs", false),
            ("tests/story.rs", true),
        ];
        assert_eq!(last_lines, expected);
    }

    #[test]
    fn code_is_what_is_neither_comment_nor_quoted() {
        assert_eq!(
            code_only("let a = \"// \\\" no\"; b('\"'); // why"),
            "let a = ; b(); "
        );
        assert_eq!(code_only("fn a<'x>(b: &'x str) {}"), "fn a<'x>(b: &'x str) {}");
        assert_eq!(
            code_only("let open = \"not ended here"),
            "let open = \"not ended here"
        );
    }
}
