//! The packager's folder: its keys and certificate, in a sealed file.
//!
//! ```text
//!  packager.keys       the packager's private keys and its certificate, sealed
//!  packager.secret     what they are sealed under
//!  packager.keys.lock  held by the process that enrols, or has the certificate renewed
//! ```

use std::path::Path;

use getrandom::SysRng;
use keyward_client_native::{
    client_info,
    sealed_file::{FolderLock, SealedFile},
};
use keyward_license::{
    carrier::{Answer, Outgoing},
    operator_profile::OperatorProfile,
    packaging::WantedTrack,
    request::ClientInfo,
    time::Timestamp,
};
use keyward_packager::{
    exchange::{Enrolled, ExchangeError, Host, PackagingData, Wanted},
    identity::Identity,
};
use keyward_server::clock::{Clock, SystemClock};
use rand_core::UnwrapErr;

use crate::{
    failure::{Exit, Failure},
    report::Report,
    transport::{Http, sent_request_id},
};

/// A packager whose folder is open.
pub(crate) struct PackagerDir {
    file: SealedFile,
    identity: Identity,
}

/// A packager that no other process enrols, or has renewed, meanwhile.
pub(crate) struct LockedPackager {
    dir: PackagerDir,
    _lock: FolderLock,
}

impl PackagerDir {
    /// Opens the packager in a folder, to package: its certificate is renewed if the last third of its life has begun.
    /// A renewal that comes to nothing is told, and keeps the packager from nothing.
    pub(crate) fn open(folder: &Path, report: Report) -> Result<Self, Failure> {
        let mut dir = Self::read(folder)?.ok_or_else(|| {
            Failure::new(
                format!("there is no packager in {}", folder.display()),
                "run `keyward packager enrol` with a token that the operator made for a packager",
            )
        })?;
        if let Err(failure) = dir.renew_if_due(&mut Network::new()) {
            report.note(&format!(
                "the packager's certificate is to be renewed, and was not: {}\nhint: {}",
                failure.message, failure.hint
            ));
        }
        Ok(dir)
    }

    /// V-055
    fn renew_if_due(&mut self, host: &mut impl Host) -> Result<(), Failure> {
        if !self.identity.owes_renewal(host.now()) {
            return Ok(());
        }
        let _lock = self.file.lock()?;
        // Another process may have been first.
        if let Some(identity) = identity_in(&self.file)? {
            self.identity = identity;
        }
        if self.identity.owes_renewal(host.now()) {
            self.identity.renew(host, &mut UnwrapErr(SysRng))?;
            self.store()?;
        }
        Ok(())
    }

    /// Asks the license server for key ids, keys and content header of a piece of content, and for leaf licenses if
    /// they are wanted. The same content id and labels get the same keys again. The tracks have one key type.
    pub(crate) fn packaging_data(
        &self,
        content_id: &str,
        tracks: &[WantedTrack],
        leaves: bool,
    ) -> Result<PackagingData, Failure> {
        let wanted = Wanted {
            content_header: true,
            leaves,
            ..Wanted::new(content_id.to_owned(), tracks.to_vec())
        };
        let rng = &mut UnwrapErr(SysRng);
        Ok(self.identity.packaging_data(&wanted, &mut Network::new(), rng)?)
    }

    /// The packager, who asks for keys of crypto periods as media reaches them.
    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    fn read(folder: &Path) -> Result<Option<Self>, Failure> {
        let file = sealed_file(folder);
        let identity = identity_in(&file)?;
        Ok(identity.map(|identity| Self { file, identity }))
    }

    fn make(folder: &Path) -> Result<Self, Failure> {
        let made = Self {
            file: sealed_file(folder),
            identity: Identity::generate(&mut UnwrapErr(SysRng)),
        };
        made.store()?;
        Ok(made)
    }

    fn store(&self) -> Result<(), Failure> {
        let bytes = self.identity.to_secret_bytes();
        Ok(self.file.write(&bytes, &mut UnwrapErr(SysRng))?)
    }
}

impl LockedPackager {
    /// Opens the packager in a folder, or makes it there. Waits for another process that does the same.
    pub(crate) fn open_or_make(folder: &Path) -> Result<Self, Failure> {
        let lock = sealed_file(folder).lock()?;
        let dir = match PackagerDir::read(folder)? {
            Some(found) => found,
            None => PackagerDir::make(folder)?,
        };
        Ok(Self { dir, _lock: lock })
    }

    /// Enrols with an operator, in the place of the one before.
    pub(crate) fn enrol(
        &mut self,
        profile: OperatorProfile,
        token: String,
        mut network: Network,
    ) -> Result<Enrolled, Failure> {
        let rng = &mut UnwrapErr(SysRng);
        let enrolled = self.dir.identity.enrol(profile, token, &mut network, rng)?;
        self.dir.store()?;
        Ok(enrolled)
    }
}

fn identity_in(file: &SealedFile) -> Result<Option<Identity>, Failure> {
    let read = |bytes| {
        Identity::from_secret_bytes(&bytes).map_err(|error| {
            Failure::new(
                format!("{} cannot be read: {error}", file.path().display()),
                "restore the folder from its backup, or remove it and enrol anew",
            )
        })
    };
    file.read()?.map(read).transpose()
}

fn sealed_file(folder: &Path) -> SealedFile {
    SealedFile::new(
        folder,
        "packager.keys",
        "packager.secret",
        "keyward/1 packager-keys",
    )
}

/// The network and the clock of this machine.
pub(crate) struct Network {
    http: Http,
    accepts_test_operators: bool,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self::accepting_test_operators(false)
    }

    pub(crate) fn accepting_test_operators(accepts_test_operators: bool) -> Self {
        Self {
            http: Http::new(),
            accepts_test_operators,
        }
    }
}

impl Host for Network {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn client_info(&self) -> ClientInfo {
        client_info()
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        self.http.send_patiently(outgoing)
    }

    fn accepts_test_operators(&self) -> bool {
        self.accepts_test_operators
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        let exit = match &error {
            ExchangeError::Transport(_) => Exit::Unreachable,
            ExchangeError::ServerRefused(problem) => Exit::of_problem(problem),
            _ => Exit::Failed,
        };
        let happened_there = matches!(
            error,
            ExchangeError::Transport(_) | ExchangeError::ServerRefused(_) | ExchangeError::NotAnAnswer { .. }
        );
        let code = match &error {
            ExchangeError::ServerRefused(problem) => Some(problem.code),
            _ => None,
        };
        Self {
            exit,
            code,
            request: sent_request_id().filter(|_| happened_there),
            ..Self::new(&error, error.hint())
        }
    }
}

#[cfg(test)]
mod tests {
    use keyward_license::{error_code::ErrorCode, license::KeyType};
    use keyward_testkit::{
        fake_server::{ENROLMENT_PATH, FakeServer, Reply, problem},
        pki::{DAY, NOW},
    };

    use super::*;

    /// A license server, and the time there and here.
    struct Line(FakeServer);

    impl Host for Line {
        fn now(&self) -> Timestamp {
            self.0.now
        }

        fn client_info(&self) -> ClientInfo {
            client_info()
        }

        fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
            let Reply { status, body } = self.0.answer(&outgoing.url, &outgoing.body);
            Ok(Answer { status, body })
        }
    }

    fn opened(folder: &Path) -> PackagerDir {
        PackagerDir::read(folder).unwrap().unwrap()
    }

    #[test]
    fn v_055_a_packagers_certificate_is_renewed_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut line = Line(FakeServer::new([5; 32]));
        let rng = &mut UnwrapErr(SysRng);
        let mut dir = PackagerDir::make(folder.path()).unwrap();
        let profile = line.0.operator.profile();
        dir.identity
            .enrol(profile, "the-token".into(), &mut line, rng)
            .unwrap();
        dir.store().unwrap();
        let first = std::fs::read(dir.file.path()).unwrap();
        dir.renew_if_due(&mut line).unwrap();
        let unchanged = std::fs::read(dir.file.path()).unwrap();
        assert_eq!(unchanged, first, "nothing is due");

        line.0.now = NOW.plus(250 * DAY);
        let refused = problem(ErrorCode::DeviceRevoked);
        line.0.bent.instead.insert(ENROLMENT_PATH, refused);
        assert!(dir.renew_if_due(&mut line).is_err());
        assert!(opened(folder.path()).identity.owes_renewal(line.now()));
        line.0.bent.instead.clear();
        let mut second = opened(folder.path());
        dir.renew_if_due(&mut line).unwrap();
        assert!(!opened(folder.path()).identity.owes_renewal(line.now()));
        // Another process, which read the folder before, finds it done: the license server is not asked again.
        line.0
            .bent
            .instead
            .insert(ENROLMENT_PATH, problem(ErrorCode::DeviceRevoked));
        assert!(second.identity.owes_renewal(line.now()));
        second.renew_if_due(&mut line).unwrap();
        assert!(!second.identity.owes_renewal(line.now()));

        let track = WantedTrack {
            label: "video".into(),
            key_type: KeyType::CencCtr,
        };
        let wanted = Wanted::new("film".into(), vec![track]);
        let packager = opened(folder.path()).identity;
        assert!(packager.packaging_data(&wanted, &mut line, rng).is_ok());
    }
}
