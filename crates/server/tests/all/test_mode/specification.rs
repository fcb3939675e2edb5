//! The page of the specification: its table is the parser's list, and its examples are read, whatever becomes of them.

use keyward_license::request::MAX_CUSTOM_DATA;
use keyward_server::test_mode::{Does, PARAMETERS, TEST_SEED, TestRequest};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

const PAGE: &str = include_str!("../../../../../spec/test-server.md");

/// The words in backticks of a cell.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_table_is_the_list_of_parameters() {
    let (_, table) = PAGE.split_once("## Parameters").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<(Vec<&str>, &str)> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            (
                quoted(cells[0]),
                cells[cells.len() - 1].trim_end_matches('|').trim(),
            )
        })
        .collect();
    let ours: Vec<(Vec<&str>, String)> = PARAMETERS
        .iter()
        .map(|parameter| {
            let names = [&[parameter.name], parameter.aliases].concat();
            let does = match parameter.does {
                Does::Works => "works".to_owned(),
                Does::RefusedIfSet(code, _) => format!("refused if true: {}", code.number()),
                Does::Refused(code, _) => format!("refused: {}", code.number()),
            };
            (names, does)
        })
        .collect();
    let rows: Vec<(Vec<&str>, String)> = rows
        .into_iter()
        .map(|(names, does)| (names, does.to_owned()))
        .collect();
    assert_eq!(rows, ours);
}

fn examples() -> impl Iterator<Item = &'static str> {
    let (_, examples) = PAGE.split_once("## Examples").unwrap();
    let (examples, _) = examples.split_once("\n## ").unwrap();
    examples.lines().filter_map(|line| line.strip_prefix("    "))
}

/// Bytes in the place of others, left out or repeated.
#[test]
fn no_bytes_make_the_reader_panic() {
    let letters = b"(),:=&%+'\"\\[]{}#0a\xff ";
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let mut draw = move |below: usize| usize::try_from(rng.next_u32()).unwrap() % below;
    for example in examples() {
        for _ in 0..2000 {
            let mut bytes = example.trim_start_matches('?').as_bytes().to_vec();
            for _ in 0..=draw(4) {
                let (at, letter) = (draw(bytes.len()), letters[draw(letters.len())]);
                match draw(3) {
                    0 => bytes[at] = letter,
                    1 => bytes.insert(at, letter),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let query = String::from_utf8_lossy(&bytes);
            for read in [
                TestRequest::read(Some(&query), None),
                TestRequest::read(None, Some(&bytes)),
            ] {
                let told = read.map_or_else(|fault| fault.to_string(), |_| String::new());
                assert!(told.len() < 500 && !told.chars().any(char::is_control), "{told}");
            }
        }
    }
    let longest = format!("json=[{}]", "{},".repeat(MAX_CUSTOM_DATA / 3));
    assert!(TestRequest::read(None, Some(longest.as_bytes())).is_err());
}

#[test]
fn the_examples_are_read() {
    let mut read = 0;
    for line in examples() {
        let asked = match line.strip_prefix('?') {
            Some(query) => TestRequest::read(Some(query), None),
            None => TestRequest::read(None, Some(line.as_bytes())),
        };
        let refused = asked.unwrap().answer.refused;
        assert_eq!(refused.is_some(), line.contains("accountid"), "{line}");
        read += 1;
    }
    assert_eq!(read, 7);
}

#[test]
fn the_page_names_the_published_seed() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    assert!(PAGE.contains(&STANDARD.encode(TEST_SEED)));
    assert_eq!(
        hex::encode(TEST_SEED),
        "5d5068bec9b384ff6044867159f16d6b755544fcd5116989b1acc4278e88"
    );
}
