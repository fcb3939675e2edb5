//! A disk that is full, read-only or broken from any operation on: a clear error, nothing lost, and all is well
//! once the disk is.

use keyward_client_native::NativeError;
use keyward_license::time::Timestamp;

use crate::{
    model::{Fault, FaultKind, Image, ModelDisk},
    scenario::{Known, Party, Step},
};

/// Where a step of the scenario starts, and what it leads to.
struct Start {
    step: Step,
    image: Image,
    time: Timestamp,
    known: Known,
    next: Known,
}

/// Every step in a process of its own.
fn starts(party: &Party) -> Vec<Start> {
    let disk = ModelDisk::default();
    let mut known = Known::default();
    let start = |step| {
        let (image, before, time) = (disk.image(), known.clone(), party.time());
        let mut client = party.open(&disk).unwrap();
        known.step(step, &mut client, party).unwrap();
        drop(client);
        Start {
            step,
            image,
            time,
            known: before,
            next: known.clone(),
        }
    };
    Step::ALL.map(start).into_iter().collect()
}

/// Runs a step in a process whose disk fails; says whether it did.
fn fails(party: &Party, start: &Start, fault: Fault) -> bool {
    let Fault { after, kind } = fault;
    let place = format!("{kind:?} after {after} operations of {:?}", start.step);
    party.set_time(start.time);
    let disk = ModelDisk::of(start.image.clone());
    disk.fail(fault);
    let mut told = start.known.clone();
    let mut client = party.open(&disk);
    let done = match &mut client {
        Ok(client) => told.step(start.step, client, party),
        Err(_) => Ok(()),
    };
    let error = client.as_ref().err().or(done.as_ref().err());
    error.iter().for_each(|error| is_clear(error, kind, &place));
    let is_done = error.is_none();
    // While the disk fails it may be tried again and again.
    if kind != FaultKind::Broken && !is_done {
        drop(client);
        let again = party
            .open(&disk)
            .and_then(|mut client| start.known.clone().step(start.step, &mut client, party));
        is_clear(&again.expect_err(&place), kind, &place);
    } else {
        drop(client);
    }
    let failures = disk.mend();
    let mut client = party
        .open(&disk)
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    if is_done {
        told.check(&told, &mut client);
        told.finish(&told, &mut client, party);
    } else {
        start.known.check_tried(start.step, &mut client);
        start.known.finish(&start.next, &mut client, party);
    }
    failures > 0
}

/// What went wrong, on one line, and what to do next.
fn is_clear(error: &NativeError, kind: FaultKind, place: &str) {
    let (shown, hint) = (error.to_string(), error.hint());
    let (says, advises) = match kind {
        FaultKind::Full => ("No space left on device", "free some space, then try again"),
        FaultKind::ReadOnly => ("Read-only file system", "make the folder and its files writable"),
        FaultKind::Broken => ("Input/output error", "check the"),
    };
    assert!(
        shown.contains(says) && shown.contains(" /") && !shown.contains('\n'),
        "{place}: {shown}"
    );
    assert!(
        hint.starts_with(advises) && hint.contains("lost"),
        "{place}: {hint}"
    );
}

fn fail_everywhere(kind: FaultKind) {
    let party = Party::new();
    for start in starts(&party) {
        let mut after = 0;
        while fails(&party, &start, Fault { after, kind }) {
            after += 1;
        }
        // A step after which the disk was read but not written would prove nothing.
        assert!(after > 3, "{:?}", start.step);
    }
}

#[test]
fn a_disk_may_be_full_from_any_change_on() {
    fail_everywhere(FaultKind::Full);
}

#[test]
fn a_disk_may_turn_read_only_at_any_change() {
    fail_everywhere(FaultKind::ReadOnly);
}

#[test]
fn any_single_operation_of_a_disk_may_fail() {
    fail_everywhere(FaultKind::Broken);
}
