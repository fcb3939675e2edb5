//! What the program says when it cannot do what it was asked: what and why in one line, then a hint.

use std::{fmt::Display, io::ErrorKind, path::Path, process::ExitCode};

use keyward_client::{ClientError, error::one_line, key_exchange::PerformError};
use keyward_client_native::NativeError;
use keyward_content::{file::FileError, media::MediaError};
use keyward_license::{
    error_code::{ErrorCode, Problem},
    key_exchange::ExchangeError,
    response::Denial,
};

use crate::transport::sent_request_id;

/// A failure as a person or a script meets it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) exit: Exit,
    /// A page that the operator names, for the viewer.
    pub(crate) page: Option<String>,
    /// Number of the other side's error in `spec/errors.md`, if it is that which failed.
    pub(crate) code: Option<u64>,
    /// Names the request in the logs of the license server and of proxies, if it failed there.
    pub(crate) request: Option<&'static str>,
}

/// Exit codes; documented in the help of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something went wrong.
    Failed = 1,
    /// The rules, or the license server, do not permit it.
    NotPermitted = 3,
    /// The license server could not be reached.
    Unreachable = 4,
}

impl Exit {
    /// Of a problem that answered in the place of the license server's message.
    pub(crate) fn of_problem(problem: &Problem) -> Self {
        // A proxy says so in the license server's place.
        let unreachable = [ErrorCode::UpstreamUnreachable, ErrorCode::UpstreamTimeout];
        if unreachable.iter().any(|code| code.number() == problem.code) {
            Self::Unreachable
        } else if problem.status >= 500 || problem.code == ErrorCode::RateLimited.number() {
            Self::Failed
        } else {
            Self::NotPermitted
        }
    }
}

impl Failure {
    pub(crate) fn new(message: impl Display, hint: impl Display) -> Self {
        Self {
            message: message.to_string(),
            hint: hint.to_string(),
            exit: Exit::Failed,
            page: None,
            code: None,
            request: None,
        }
    }

    /// Puts what was being done before the reason.
    pub(crate) fn context(mut self, doing: impl Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl std::error::Error for Failure {}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<NativeError> for Failure {
    fn from(error: NativeError) -> Self {
        let exit = match &error {
            NativeError::Transport(_) => Exit::Unreachable,
            NativeError::Client(ClientError::ServerRefused(problem)) => Exit::of_problem(problem),
            NativeError::Client(
                ClientError::Denied { .. }
                | ClientError::DeviceRevoked { .. }
                | ClientError::Refused { .. }
                | ClientError::Blocked { .. }
                | ClientError::NoLicense { .. }
                | ClientError::NoRoot { .. }
                | ClientError::RootKey { .. }
                | ClientError::UsedUp { .. }
                | ClientError::NotAnExchangeKey { .. }
                | ClientError::NotAContentKey { .. }
                | ClientError::WrongOperation { .. }
                | ClientError::WrongAlgorithm { .. },
            ) => Exit::NotPermitted,
            NativeError::Perform(error) => of_perform(error),
            _ => Exit::Failed,
        };
        let happened_there = matches!(
            &error,
            NativeError::Transport(_)
                | NativeError::Client(
                    ClientError::ServerRefused(_)
                        | ClientError::NotAnAnswer { .. }
                        | ClientError::Denied { .. }
                )
        );
        let hint = match &error {
            NativeError::Client(ClientError::Denied { denial, .. }) => denial_hint(denial),
            _ => error.hint().to_owned(),
        };
        let page = match &error {
            NativeError::Client(error) => error.page().map(str::to_owned),
            _ => None,
        };
        let code = match &error {
            NativeError::Client(ClientError::ServerRefused(problem)) => Some(problem.code),
            NativeError::Client(ClientError::Denied { denial, .. }) => Some(denial.code),
            _ => None,
        };
        Self {
            exit,
            page,
            code,
            request: sent_request_id().filter(|_| happened_there),
            ..Self::new(&error, hint)
        }
    }
}

/// Of a call that an exchange key refused: do not permit it, or it failed.
const fn of_perform(error: &PerformError) -> Exit {
    match error {
        PerformError::Ended { .. }
        | PerformError::Exchange(
            ExchangeError::WrongOperation { .. }
            | ExchangeError::WrongContext
            | ExchangeError::MessagesUsedUp,
        ) => Exit::NotPermitted,
        _ => Exit::Failed,
    }
}

impl From<PerformError> for Failure {
    fn from(error: PerformError) -> Self {
        NativeError::Perform(error).into()
    }
}

/// What to do about a denial: see the page that the operator names, if it names one.
pub(crate) fn denial_hint(denial: &Denial) -> String {
    denial.url.as_deref().map_or_else(
        || denial.hint().to_owned(),
        |url| format!("see {}", one_line(url)),
    )
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(error, error.hint())
    }
}

impl From<&MediaError> for Failure {
    fn from(error: &MediaError) -> Self {
        let exit = match error {
            MediaError::Key { .. } => Exit::NotPermitted,
            _ => Exit::Failed,
        };
        Self {
            exit,
            ..Self::new(error, error.hint())
        }
    }
}

impl From<keyward_packager::PackagerError> for Failure {
    fn from(error: keyward_packager::PackagerError) -> Self {
        match error {
            keyward_packager::PackagerError::Exchange(error) => (*error).into(),
            error => Self::new(&error, error.hint()),
        }
    }
}

/// For `map_err`: a file that cannot be read or written; an error of its content keeps its own words.
pub(crate) fn file_error(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| {
        let doing = format!("cannot {action} {path}");
        of_content(&error).map_or_else(
            || Failure::new(format!("{doing}: {error}"), file_hint(error.kind())),
            |failure| failure.context(&doing),
        )
    }
}

const fn file_hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "check the path",
        ErrorKind::PermissionDenied => "check the permissions of the file and of its folder",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, then try again",
        _ => "check the path, its permissions and the free space",
    }
}

/// What is wrong with the content that was read, if that is why reading failed.
pub(crate) fn of_content(error: &std::io::Error) -> Option<Failure> {
    let of_rules = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
    if let Some(failure) = of_rules {
        return Some(failure.clone());
    }
    let of_file = FileError::within(error).map(Failure::from);
    of_file.or_else(|| MediaError::within(error).map(Failure::from))
}

#[cfg(test)]
mod tests {
    use keyward_packager::exchange::ExchangeError;

    use super::*;

    #[test]
    fn a_problem_has_one_exit_code_whoever_asked() {
        for (code, exit) in [
            (ErrorCode::DeviceRevoked, Exit::NotPermitted),
            (ErrorCode::PackagingUnsupported, Exit::NotPermitted),
            (ErrorCode::Busy, Exit::Failed),
            (ErrorCode::RateLimited, Exit::Failed),
            (ErrorCode::UpstreamRefuses, Exit::Failed),
            (ErrorCode::UpstreamTimeout, Exit::Unreachable),
            (ErrorCode::UpstreamUnreachable, Exit::Unreachable),
        ] {
            let problem = Problem::new(code, "why".to_owned());
            let client = NativeError::Client(ClientError::ServerRefused(problem.clone()));
            assert_eq!(Failure::from(client).exit, exit, "{code:?}");
            let packager = ExchangeError::ServerRefused(problem);
            assert_eq!(Failure::from(packager).exit, exit, "{code:?}");
        }
    }
}
