//! The packager's folder: its keys and certificate, in a sealed file.
//!
//! ```text
//!  packager.keys       the packager's private keys and its certificate, sealed
//!  packager.secret     what they are sealed under
//!  packager.keys.lock  held by the process that enrols
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
    transport::{Http, request_id},
};

/// A packager whose folder is open.
pub(crate) struct PackagerDir {
    file: SealedFile,
    identity: Identity,
}

/// A packager that no other process enrols meanwhile.
pub(crate) struct LockedPackager {
    dir: PackagerDir,
    _lock: FolderLock,
}

impl PackagerDir {
    /// Opens the packager in a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        Self::read(folder)?.ok_or_else(|| {
            Failure::new(
                format!("there is no packager in {}", folder.display()),
                "run `keyward packager enrol` with a token that the operator made for a packager",
            )
        })
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
        let Some(bytes) = file.read()? else {
            return Ok(None);
        };
        let identity = Identity::from_secret_bytes(&bytes).map_err(|error| {
            Failure::new(
                format!("{} cannot be read: {error}", file.path().display()),
                "restore the folder from its backup, or remove it and enrol anew",
            )
        })?;
        Ok(Some(Self { file, identity }))
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
    pub(crate) fn enrol(&mut self, profile: OperatorProfile, token: String) -> Result<Enrolled, Failure> {
        let rng = &mut UnwrapErr(SysRng);
        let enrolled = self
            .dir
            .identity
            .enrol(profile, token, &mut Network::new(), rng)?;
        self.dir.store()?;
        Ok(enrolled)
    }
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
pub(crate) struct Network(Http);

impl Network {
    pub(crate) fn new() -> Self {
        Self(Http::new())
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
        self.0.send_patiently(outgoing)
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
        Self {
            exit,
            request: happened_there.then(request_id),
            ..Self::new(&error, error.hint())
        }
    }
}
