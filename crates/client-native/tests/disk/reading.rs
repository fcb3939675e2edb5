//! Who only reads changes nothing on the disk, and writes as ever when there is something to write.

use keyward_client::session::Acquisition;

use crate::{
    model::ModelDisk,
    scenario::{Known, Party, Step},
    world::{kid, opens, wanted},
};

/// A device that has a license and is closed.
fn stored() -> (ModelDisk, Party, Known) {
    let (disk, party, mut known) = (ModelDisk::default(), Party::new(), Known::default());
    let mut client = party.open(&disk).unwrap();
    for step in [Step::Open, Step::Enrol, Step::Acquire] {
        known.step(step, &mut client, &party).unwrap();
    }
    drop(client);
    (disk, party, known)
}

#[test]
fn what_needs_no_commit_changes_nothing_on_the_disk() {
    let (disk, party, known) = stored();
    let before = disk.changes();
    let mut client = party.open(&disk).unwrap();
    known.check(&known, &mut client);
    let opened = client.open_content(vec![kid(1)], wanted(1), Acquisition::Never);
    assert!(opens(&opened.unwrap().bound[0]));
    drop(client);
    assert_eq!(disk.changes(), before);
}

#[test]
fn what_was_read_is_written_to_all_the_same() {
    let (disk, party, mut known) = stored();
    let before = disk.changes();
    let mut client = party.open(&disk).unwrap();
    for step in [Step::Request, Step::Play, Step::Install] {
        known.check(&known, &mut client);
        known.step(step, &mut client, &party).unwrap();
        known.check(&known, &mut client);
    }
    drop(client);
    assert!(disk.changes() > before);
    let closed = disk.changes();
    let mut again = party.open(&disk).unwrap();
    known.check(&known, &mut again);
    drop(again);
    assert_eq!(disk.changes(), closed, "it was closed as it should be");
}

/// A file that was not closed has to be mended, which is written even if nothing else is; after that it is whole.
#[test]
fn what_was_not_closed_is_mended_before_it_is_read() {
    let (disk, party, known) = stored();
    let mut client = party.open(&disk).unwrap();
    client.request(wanted(2)).unwrap();
    let left = ModelDisk::of(disk.image());
    drop(client);
    let mut client = party.open(&left).unwrap();
    assert!(left.changes() > 0);
    known.check(&known, &mut client);
    drop(client);
    let mended = left.changes();
    drop(party.open(&left).unwrap());
    assert_eq!(left.changes(), mended, "once is enough");
}
