//! Every point at which the power may fail: before, within and after each single change that the client makes on
//! its disk, in the database as in every other file.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use crate::{
    model::{Cut, Image, ModelDisk},
    scenario::{Known, Party, Step},
};

/// A whole life of a device, and how many changes there were when something was known.
struct Life {
    disk: ModelDisk,
    known: Vec<(usize, Known)>,
    party: Party,
}

impl Life {
    fn live() -> Self {
        let (disk, party) = (ModelDisk::default(), Party::new());
        let mut known = vec![(0, Known::default())];
        let mut now = Known::default();
        let mut client = party.open(&disk).unwrap();
        for step in Step::ALL {
            now.step(step, &mut client, &party).unwrap();
            known.push((disk.changes(), now.clone()));
        }
        drop(client);
        Self { disk, known, party }
    }

    /// What was known after this many changes, and what would have been next.
    fn known_at(&self, changes: usize) -> (&Known, &Known) {
        let next = self.known.iter().position(|(at, _)| *at > changes);
        let next = next.unwrap_or(self.known.len() - 1);
        let before = self.known.iter().rfind(|(at, _)| *at <= changes).unwrap();
        (&before.1, &self.known[next].1)
    }

    /// Everything that may be left on the disk, each once with what was known then.
    fn remains(&self, cut: Cut) -> impl Iterator<Item = (usize, Image)> {
        let (hasher, mut seen) = (RandomState::new(), HashSet::new());
        (0..=self.disk.changes()).filter_map(move |changes| {
            let image = self.disk.cut(changes, cut)?;
            let told = self.known.iter().filter(|(at, _)| *at <= changes).count();
            seen.insert(hasher.hash_one((&image, told)))
                .then_some((changes, image))
        })
    }
}

fn cut_everywhere(cut: Cut) {
    let life = Life::live();
    let mut tried = 0;
    for (changes, image) in life.remains(cut) {
        let (known, next) = life.known_at(changes);
        let disk = ModelDisk::of(image);
        let mut client = life
            .party
            .open(&disk)
            .unwrap_or_else(|error| panic!("{cut:?} at change {changes}: {error}"));
        known.check(next, &mut client);
        Known::check_told(next, &mut client);
        known.finish(next, &mut client, &life.party);
        drop(client);
        drop(life.party.open(&disk).unwrap());
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn a_process_may_die_after_any_change() {
    cut_everywhere(Cut::Kept);
}

#[test]
fn the_power_may_fail_after_any_change_and_take_what_was_not_flushed() {
    cut_everywhere(Cut::Lost);
}

#[test]
fn the_power_may_fail_within_any_write() {
    cut_everywhere(Cut::TornKept);
}

#[test]
fn the_power_may_fail_within_any_write_and_take_what_was_not_flushed() {
    cut_everywhere(Cut::TornLost);
}

#[test]
fn the_power_may_fail_when_a_later_change_is_on_disk_before_an_earlier_one() {
    cut_everywhere(Cut::Alone);
}

/// Opening repairs what a cut has left, and writes while it does.
#[test]
fn the_power_may_fail_again_at_any_change_of_the_repair() {
    let life = Life::live();
    let mut tried = 0;
    for (changes, image) in life.remains(Cut::Kept) {
        // One cut before each flush: there the most has been written that is not sure to be on the disk.
        if !life.disk.is_flush(changes) {
            continue;
        }
        let (known, next) = life.known_at(changes);
        let repaired = ModelDisk::of(image);
        drop(life.party.open(&repaired).unwrap());
        for at in 0..=repaired.changes() {
            for cut in Cut::ALL {
                let Some(image) = repaired.cut(at, cut) else {
                    continue;
                };
                let mut client = life.party.open(&ModelDisk::of(image)).unwrap_or_else(|error| {
                    panic!("at change {changes}, then {cut:?} at change {at} of the repair: {error}")
                });
                known.check(next, &mut client);
                tried += 1;
            }
        }
    }
    println!("{tried} repairs");
    assert!(tried > 100, "{tried}");
}
