//! The server is killed at every point of the list, and opened again on what is left.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use keyward_crypto::hpke::Suite;
use tempfile::TempDir;
use tokio::task::{JoinSet, LocalSet};

use super::{
    Extent, Point,
    crashed::{again, holds, is_whole},
    recorder::{Copy, copy_tree, memory},
    scenario::{Cast, Run, Step, init, live, open},
};
use crate::{
    Error,
    clock::Clock,
    common::{Device, KID, World},
    operator::kek::{KEK_NEXT, KEK_OLD, ROOT_KEY_NEXT},
};

#[tokio::test]
async fn killed_at_any_point_the_server_has_lost_nothing_and_nothing_is_half_there() {
    let mut run = live().await;
    let copies = core::mem::take(&mut run.copies);
    let reached: BTreeSet<_> = copies.iter().map(|copy| copy.point).collect();
    let listed: BTreeSet<_> = Point::all().into_iter().collect();
    assert_eq!(
        reached, listed,
        "every point of the list is reached, and every point is listed"
    );
    let run = Rc::new(run);
    let mut waiting = Vec::new();
    for copy in copies {
        let copy = Rc::new(copy);
        let cuts = cuts(&copy).into_iter().map(Some).chain([None]);
        waiting.extend(cuts.map(|cut| (Rc::clone(&copy), cut)));
    }
    let judging = async {
        let mut judged = JoinSet::new();
        for (copy, cut) in waiting {
            // They wait for the disk most of the time.
            if judged.len() == AT_ONCE {
                judged.join_next().await.unwrap().unwrap();
            }
            let run = Rc::clone(&run);
            judged.spawn_local(async move { judge(&copy, cut, &run).await });
        }
        while let Some(judged) = judged.join_next().await {
            judged.unwrap();
        }
    };
    LocalSet::new().run_until(judging).await;
}

const AT_ONCE: usize = 8;

/// How the name of a profile begins that is not in its place yet.
const BESIDE_PROFILE: &str = ".keyward-profile-";

/// A file of which only the first bytes were written.
struct Cut {
    file: PathBuf,
    len: u64,
}

/// What may be left of the file that the process was writing.
fn cuts(copy: &Copy) -> Vec<Cut> {
    let name = match copy.point {
        Point::File(_, name, Extent::Written) => name,
        Point::Profile(Extent::Written) => BESIDE_PROFILE,
        Point::Rolled(name, Extent::Written) => name,
        _ => return Vec::new(),
    };
    let file = find(copy.home.path(), name).unwrap();
    let len = fs::metadata(copy.home.path().join(&file)).unwrap().len();
    let lengths = [0, 1, len / 2, len - 1];
    let cut = |len| Cut {
        file: file.clone(),
        len,
    };
    lengths.map(cut).into()
}

/// The file that is being written: in a hidden directory, or hidden itself.
fn find(home: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(home).unwrap() {
        let entry = entry.unwrap();
        let (own, path) = (entry.file_name().into_string().unwrap(), entry.path());
        let inside = || {
            fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
        };
        let found = if own.starts_with(".keyward-") {
            inside().find(|inner| inner == name)
        } else if own == "operator" && [BESIDE_PROFILE, KEK_NEXT, KEK_OLD, ROOT_KEY_NEXT].contains(&name) {
            inside().find(|inner| inner.to_string_lossy().starts_with(name))
        } else {
            None
        };
        if let Some(found) = found {
            return Some(Path::new(&own).join(found));
        }
    }
    None
}

/// What the process left, to be worked on.
fn left(copy: &Copy, cut: Option<Cut>) -> TempDir {
    let home = memory();
    copy_tree(copy.home.path(), home.path()).unwrap();
    if let Some(Cut { file, len }) = cut {
        let file = fs::OpenOptions::new().write(true).open(home.path().join(file));
        file.unwrap().set_len(len).unwrap();
    }
    home
}

/// Opens the server on what is left, and judges it by what had been told.
async fn judge(copy: &Copy, cut: Option<Cut>, run: &Run) {
    let Copy { point, step, .. } = *copy;
    println!("killed at {point:?} during {:?}", Step::ALL[step]);
    let home = left(copy, cut);
    if !home.path().join("operator").exists() {
        assert_eq!(Step::ALL[step], Step::Init, "{point:?}");
        init(home.path()).await.unwrap();
    } else if Step::ALL[step] == Step::Init {
        assert!(matches!(init(home.path()).await, Err(Error::OperatorExists(_))));
    }
    let world = open(home, String::new()).await;
    world.clock.set(run.at[step].plus(60));
    is_whole(&world).await;
    for (told, before) in run.told.iter().zip(Step::ALL).take(step) {
        holds(before, told, &world, run).await;
    }
    if Step::ALL[step] != Step::Init {
        again(Step::ALL[step], point, &world, run).await;
    }
    if Step::ALL[step] != Step::Close && step > number(Step::EnrolDevice) {
        goes_on(&world, &run.cast).await;
    }
    is_whole(&world).await;
    world.server.close().await;
}

fn number(step: Step) -> usize {
    Step::ALL.iter().position(|other| *other == step).unwrap()
}

/// The device asks for another license, and gets it.
async fn goes_on(world: &World, cast: &Cast) {
    let mut device = Device::new(21, &Suite::ALL);
    device.signing = Device::new(1, &Suite::ALL).signing;
    device.sealing = Device::new(1, &Suite::ALL).sealing;
    device.chain.clone_from(&cast.enrolments[0].0.chain);
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let response = device.ask(world, &body).await.unwrap();
    assert!(response.results[0].license.is_some());
    assert!(response.server_time >= world.clock.now());
}
