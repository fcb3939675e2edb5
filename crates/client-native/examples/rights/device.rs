//! The device: a client in a folder, which is filled and used.

use std::{
    fs,
    path::{Path, PathBuf},
};

use keyward_client::{
    acquire::Wanted, enforce::Availability, flow::Moment, session::Acquisition, store::StoreLimits,
};
use keyward_client_native::{Clock, NativeClient, NoTransport, Options};
use keyward_license::{discovery::WELL_KNOWN_PATH, ids::Kid};
use keyward_testkit::{fake_server::ENROLMENT_PATH, pki::NOW};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{Outcome, server::Server};

/// Most key ids of one request.
pub(crate) const LARGEST_REQUEST: u64 = 256;

/// It is always the same time, that of the server.
struct Standing;

impl Clock for Standing {
    fn moment(&self) -> Moment {
        Moment {
            utc: Some(NOW),
            monotonic: 0,
        }
    }
}

pub(crate) struct Device {
    folder: PathBuf,
    client: Option<NativeClient>,
    server: Server,
    /// Licenses that were installed: key ids have the numbers below.
    installed: u64,
    chance: ChaCha20Rng,
}

impl Device {
    /// A new device in a folder, enrolled.
    pub(crate) fn enrolled(folder: &Path) -> Outcome<Self> {
        let (server, profile) = Server::start()?;
        let mut device = Self {
            folder: folder.to_path_buf(),
            client: None,
            server,
            installed: 0,
            chance: ChaCha20Rng::from_seed([7; 32]),
        };
        device.open()?;
        let discovery = device.server.ask(WELL_KNOWN_PATH, Vec::new())?;
        let request = device
            .client()?
            .request_enrolment(profile, "token".into(), discovery)?;
        let response = device.server.ask(ENROLMENT_PATH, request)?;
        device.client()?.install_enrolment(response)?;
        Ok(device)
    }

    fn client(&mut self) -> Outcome<&mut NativeClient> {
        self.client.as_mut().ok_or_else(|| "the store is not open".into())
    }

    pub(crate) fn close(&mut self) {
        self.client = None;
    }

    /// Opens the store, as a process does that starts.
    pub(crate) fn open(&mut self) -> Outcome {
        let options = Options {
            clock: Box::new(Standing),
            limits: StoreLimits {
                licenses: 2_000_000,
                license_bytes: 16 << 30,
                ..StoreLimits::default()
            },
            ..Options::default()
        };
        self.client = Some(NativeClient::open_with(
            &self.folder,
            Box::new(NoTransport),
            options,
        )?);
        Ok(())
    }

    pub(crate) const fn licenses(&self) -> u64 {
        self.installed
    }

    /// The key id of some license in the store.
    pub(crate) fn any_kid(&mut self) -> Kid {
        kid(self.chance.next_u64() % self.installed.max(1))
    }

    /// Fills the store up to this many licenses. The server makes a response while another is installed.
    pub(crate) fn fill(&mut self, count: u64) -> Outcome {
        let mut sent = self.installed;
        while self.installed < count {
            let mut waiting = sent > self.installed;
            if sent < count {
                let number = (count - sent).min(LARGEST_REQUEST);
                self.send(sent, number, false)?;
                sent += number;
                // The first one is waited for with the second one on its way.
                waiting |= sent == count;
            }
            if waiting {
                let response = self.server.response()?;
                self.install(response)?;
            }
        }
        Ok(())
    }

    /// A response of so many new licenses, and their key ids.
    pub(crate) fn answered(&mut self, number: u64, rental: bool) -> Outcome<(Vec<Kid>, Vec<u8>)> {
        let kids = self.send(self.installed, number, rental)?;
        Ok((kids, self.server.response()?))
    }

    fn send(&mut self, from: u64, number: u64, rental: bool) -> Outcome<Vec<Kid>> {
        let kids: Vec<Kid> = (from..from + number).map(kid).collect();
        let wanted = Wanted {
            kids: kids.clone(),
            ..Wanted::default()
        };
        let request = self.client()?.request(wanted)?;
        self.server.send(request, kids.clone(), rental)?;
        Ok(kids)
    }

    pub(crate) fn install(&mut self, response: Vec<u8>) -> Outcome {
        let acquired = self.client()?.install(response)?;
        self.installed += u64::try_from(acquired.outcomes.len())?;
        let stored = self.client()?.store_usage().licenses;
        (stored == self.installed)
            .then_some(())
            .ok_or_else(|| "not every license was stored".into())
    }

    pub(crate) fn find(&mut self, kid: Kid) -> Outcome {
        match self.client()?.find(kid)? {
            Availability::Ready { .. } => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// From the application's call to a usable key.
    pub(crate) fn bind(&mut self, kid: Kid) -> Outcome {
        let wanted = Wanted {
            kids: vec![kid],
            ..Wanted::default()
        };
        let opened = self
            .client()?
            .open_content(vec![kid], wanted, Acquisition::Never)?;
        let released = opened.bound.first().map(keyward_client::enforce::Bound::kid);
        (released == Some(kid))
            .then_some(())
            .ok_or_else(|| "no key was released".into())
    }

    /// Database and epoch file.
    pub(crate) fn bytes_on_disk(&self) -> Outcome<u64> {
        let mut bytes = 0;
        for name in ["licenses.redb", "licenses.epoch"] {
            bytes += fs::metadata(self.folder.join(name))?.len();
        }
        Ok(bytes)
    }

    pub(crate) fn bytes_of_records(&self) -> u64 {
        self.client
            .as_ref()
            .map_or(0, |client| client.store_usage().license_bytes)
    }
}

fn kid(number: u64) -> Kid {
    let mut bytes = [0x5a; 16];
    bytes
        .iter_mut()
        .zip(number.to_be_bytes())
        .for_each(|(to, from)| *to = from);
    Kid::new(bytes)
}
