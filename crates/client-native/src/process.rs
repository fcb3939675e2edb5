//! What a process that holds keys keeps from others: its memory, alive and after a crash.

use std::io;

/// Keeps this process's memory out of core dumps, and out of the hands of other processes of the same user: no core
/// file is written, and on Linux no debugger attaches and `/proc` shows neither memory nor descriptors to anybody but
/// the system's administrator. A program calls it first of all; there is no way back but a new process.
///
/// On systems without resource limits of POSIX (Windows, the browser) it does nothing.
///
/// # Errors
/// Whatever the operating system says. The process is as open as before then.
pub fn shield() -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, none)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// Whether [`shield`] holds, as the operating system says. Always on systems where it does nothing.
#[must_use]
pub fn is_shielded() -> bool {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        if getrlimit(Resource::Core).maximum != Some(0) {
            return false;
        }
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        if dumpable_behavior() != Ok(DumpableBehavior::NotDumpable) {
            return false;
        }
    }
    true
}
