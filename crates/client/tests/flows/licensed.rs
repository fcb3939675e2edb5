//! A device with a license of any terms, on a host that a test describes; and time that passes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use keyward_client::{
    ClientError,
    enforce::Availability,
    host::{HostProfile, Outputs},
    install::AcquiredKey,
    playback::Standing,
    session::{Acquisition, Opened},
};
use keyward_license::{
    ids::LicenseId,
    license::{Flag, HdcpType, LicenseBody, OutputProtectionLevels},
    usage_rules::{Connector, Hdcp, HdcpVersion, Output, OutputKind, Refusal, Rule, Verdict},
};
use keyward_testkit::pki::{DAY, NOW};

use crate::world::{TestClient, Trace, World, kid, opens, wanted};

/// Outputs that a test changes while content plays.
#[derive(Clone, Default)]
pub(crate) struct Screens {
    list: Rc<RefCell<Vec<Output>>>,
    changes: Rc<Cell<u64>>,
}

impl Screens {
    pub(crate) fn show(&self, outputs: &[Output]) {
        *self.list.borrow_mut() = outputs.to_vec();
        self.changes.set(self.changes.get() + 1);
    }
}

impl Outputs for Screens {
    fn list(&self) -> Option<Vec<Output>> {
        Some(self.list.borrow().clone())
    }

    fn changes(&self) -> u64 {
        self.changes.get()
    }
}

pub(crate) fn asking() -> HostProfile {
    HostProfile {
        asks_while_playing: true,
        embeds: true,
        ..HostProfile::default()
    }
}

/// A client on a host that can do everything, with these outputs.
pub(crate) fn on(world: &mut World, screens: &Screens) -> TestClient {
    world.open().unwrap().on_host(HostProfile {
        outputs: Box::new(screens.clone()),
        states_frames: true,
        ..asking()
    })
}

/// Opens the store anew, as the next process does.
pub(crate) fn restarted(world: &mut World, client: TestClient) -> TestClient {
    drop(client);
    world.open().unwrap().on_host(asking())
}

/// A world whose device has a license for key 1, edited like this.
pub(crate) fn licensed(edit: impl Fn(&mut LicenseBody) + 'static) -> (World, TestClient) {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    acquire(&mut world, &mut client, edit);
    (world, client)
}

/// Acquires a license for key 1, edited like this.
pub(crate) fn acquire(
    world: &mut World,
    client: &mut TestClient,
    edit: impl Fn(&mut LicenseBody) + 'static,
) -> LicenseId {
    world.server.bent.license = Some(Box::new(edit));
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    world.trace.clear();
    match acquired.outcomes[..] {
        [(_, AcquiredKey::Stored(id) | AcquiredKey::InMemory(id))] => id,
        _ => panic!("{acquired:?}"),
    }
}

pub(crate) fn open(world: &mut World, client: &mut TestClient) -> Result<Opened, ClientError> {
    let opened = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))?;
    assert!(opens(&opened.bound[0], 1));
    Ok(opened)
}

pub(crate) fn refusal(world: &mut World, client: &mut TestClient) -> Refusal {
    match open(world, client) {
        Err(ClientError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn go_on(world: &mut World, client: &mut TestClient, opened: &mut Opened) -> Standing {
    world.run(client.go_on(opened)).unwrap()
}

/// Lets time pass, on both clocks.
pub(crate) fn pass(world: &mut World, seconds: u64) {
    world.moment.utc = world.moment.utc.map(|utc| utc.plus(seconds));
    world.moment.monotonic += seconds * 1000;
}

pub(crate) fn commits(world: &World) -> usize {
    world.trace.iter().filter(|step| **step == Trace::Commit).count()
}

pub(crate) fn rental(body: &mut LicenseBody) {
    body.end = Some(NOW.plus(30 * DAY));
    body.expiration_after_first_play = Some(2 * DAY);
}

pub(crate) fn sixty_seconds(body: &mut LicenseBody) {
    body.end = Some(body.issued.plus(60));
    body.real_time_expiration = Some(Flag);
}

pub(crate) fn hdmi(hdcp: Hdcp) -> Output {
    Output {
        hdcp,
        ..Output::bare(Connector::Hdmi, OutputKind::UncompressedDigitalVideo)
    }
}

pub(crate) const TYPE_0: Hdcp = Hdcp::Engaged {
    version: HdcpVersion { major: 1, minor: 4 },
    stream_type: HdcpType::Type0,
};

pub(crate) const INTERNAL: Output = Output::bare(Connector::Internal, OutputKind::BuiltIn);

pub(crate) fn needs_hdcp(body: &mut LicenseBody) {
    body.output_protection_levels = Some(OutputProtectionLevels {
        uncompressed_digital_video: Some(300),
        ..OutputProtectionLevels::default()
    });
}

pub(crate) fn verdicts(opened: &Opened) -> Vec<(Verdict, Rule)> {
    let decisions = opened.bound[0].outputs();
    decisions
        .map(|(_, decision)| (decision.verdict, decision.decided_by))
        .collect()
}

/// The license that would be used.
pub(crate) fn open_only(world: &mut World, client: &mut TestClient) -> LicenseId {
    match world.run(client.find(kid(1))).unwrap() {
        Availability::Ready { license, .. } => license,
        other => panic!("{other:?}"),
    }
}
