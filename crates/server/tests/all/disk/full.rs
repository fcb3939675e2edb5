//! A disk that becomes full.

use super::*;

/// A disk of its own, in memory, which only the system's administrator can mount; nobody else has a disk that is
/// full for one process alone. What of it needs no disk is shown for everybody, in the store's own tests.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap().keep();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(&dir)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        fs::remove_dir(&dir).unwrap();
        eprintln!("skipped: this user cannot mount a disk");
        None
    }

    pub(super) fn home(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(&self.0).unwrap()
    }

    /// Takes what is free.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        ballast
    }

    pub(super) fn remount(&self, how: &str) {
        let remounted = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.0)
            .status();
        assert!(remounted.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
        fs::remove_dir(&self.0).ok();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_for_the_time_being_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount() else { return };
    let log = Log::default();
    let _listening = log.listen();
    let world = World::at_home(disk.home(), 1).await;
    let served = serve(world.server.clone()).await;
    let mut asked = Asked::begin(&world).await;
    asked.ask(&world).await.unwrap();
    let token = world.token().await;

    let ballast = disk.fill();
    assert_eq!(asked.ask(&world).await, Err(BUSY));
    assert_eq!(served.ready().await, 503);
    let mut newcomer = Device::new(2, &Suite::ALL);
    let refused = newcomer.enrol(&world, &token).await.unwrap_err();
    assert_eq!((refused.code, refused.status), BUSY);
    let refused = world.server.revoke_device(asked.device.id()).await.unwrap_err();
    assert_eq!(fault(&refused), DatabaseFault::Full);
    assert_eq!(
        refused.to_string(),
        "the database could not commit a write: the disk is full"
    );
    log.assert_says("the disk is full", "make room on the disk");
    // What was recorded is answered all the same.
    asked.send(&world, 0).await.unwrap();
    nothing_is_made_on_it(&disk, &world).await;

    fs::remove_file(ballast).unwrap();
    assert_eq!(served.ready().await, 200, "without a restart");
    asked.all_hold(&world).await;
    newcomer.enrol(&world, &token).await.unwrap();
    served.stop().await;
}

/// An operator or a backup that finds no room is not there afterwards.
async fn nothing_is_made_on_it(disk: &SmallDisk, world: &World) {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let place = disk.0.join("other");
    let refused = operator::init(&place, options(KekSource::File), NOW, &mut rng)
        .await
        .unwrap_err();
    assert!(refused.hint().contains("make room on the disk"), "{refused}");
    assert!(!place.exists());
    let place = disk.0.join("backup");
    let refused = back_up(&world.dir(), &place, false, NOW).await.unwrap_err();
    assert!(refused.hint().contains("make room on the disk"), "{refused}");
    assert!(!place.exists());
    let left: Vec<_> = fs::read_dir(&disk.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with(".keyward")),
        "{left:?}"
    );
}

/// The disk is full after every number of pages, so that every write meets it.
#[tokio::test]
async fn wherever_the_disk_becomes_full_nothing_is_half_there() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut refusals = 0;
    for free in 0..30 {
        let world = World::at_home(disk.home(), 1).await;
        let mut asked = Asked::begin(&world).await;
        let token = world.token().await;
        let mut newcomer = Device::new(2, &Suite::ALL);
        let ballast = disk.fill();
        let file = fs::OpenOptions::new().write(true).open(&ballast).unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len - free * 4096).unwrap();
        drop(file);

        let enrolled = newcomer.enrol(&world, &token).await;
        for refused in [
            enrolled.map_err(|problem| (problem.code, problem.status)),
            asked.ask(&world).await,
            asked.ask(&world).await,
        ] {
            assert!(refused.is_ok() || refused == Err(BUSY), "{refused:?}");
            refusals += usize::from(refused.is_err());
        }
        fs::remove_file(ballast).unwrap();
        newcomer.enrol(&world, &token).await.unwrap();
        asked.all_hold(&world).await;
        let halves = [
            "SELECT count(*) FROM answers a WHERE (SELECT count(*) FROM issued i WHERE i.answer = a.id) <> 1",
            "SELECT count(*) FROM devices WHERE id NOT IN (SELECT device FROM device_certificates)",
            "SELECT count(*) FROM devices WHERE id NOT IN (SELECT used_by FROM enrolment_tokens)",
            "SELECT count(*) - 1 FROM pragma_integrity_check WHERE integrity_check = 'ok'",
        ];
        for half in halves {
            assert_eq!(world.count(half).await, 0, "with {free} pages free: {half}");
        }
        world.server.close().await;
    }
    assert!(
        refusals > 30,
        "{refusals}: some were refused, at different places"
    );
}

#[tokio::test]
async fn a_server_that_dies_on_a_full_disk_has_lost_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut world = World::at_home(disk.home(), 1).await;
    let mut asked = Asked::begin(&world).await;
    asked.ask(&world).await.unwrap();
    let ballast = disk.fill();
    assert_eq!(asked.ask(&world).await, Err(BUSY));
    // Opened again, still without room: what can be read is answered, or opening says why not.
    world.server.close().await;
    match open(&world).await {
        Ok(server) => {
            world.server = server;
            asked.send(&world, 0).await.unwrap();
            world.server.close().await;
        }
        Err(refused) => assert_eq!(fault(&refused), DatabaseFault::Full, "{refused}"),
    }
    fs::remove_file(ballast).unwrap();
    world.server = open(&world).await.unwrap();
    asked.all_hold(&world).await;
}
