//! Room for connections: each is an open file of the process, and the system allows it a number of them.

/// How many connections each of `listeners` may have, of those that are wanted. The system is asked for as many
/// open files as they and `others` need; what it does not allow is taken off the connections, because a
/// listener that cannot accept shuts everybody out, and one that is full does not.
pub(crate) fn connections(wanted: usize, listeners: usize, others: usize) -> usize {
    let needed = wanted.saturating_mul(listeners).saturating_add(others);
    let allowed = allow(needed);
    let possible = share(allowed, listeners, others);
    if possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            allowed,
            needed,
            "the system allows too few open files for limits.connections: raise its hard limit (ulimit -Hn)"
        );
    }
    possible.min(wanted)
}

/// What is left for each listener, one connection at least.
fn share(allowed: usize, listeners: usize, others: usize) -> usize {
    let left = allowed.saturating_sub(others);
    left.checked_div(listeners).unwrap_or_default().max(1)
}

/// Raises the soft limit of open files to `files`, or as far as the hard limit permits. Returns what is
/// allowed then.
#[cfg(unix)]
fn allow(files: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let of = |limit: Option<u64>| limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut limit = getrlimit(Resource::Nofile);
    let soft = of(limit.current);
    if soft >= files {
        return soft;
    }
    let raised = files.min(of(limit.maximum));
    limit.current = u64::try_from(raised).ok();
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => raised,
        Err(error) => {
            tracing::debug!(error = %error, "the limit of open files stays as it is");
            soft
        }
    }
}

/// Where there is no such limit.
#[cfg(not(unix))]
fn allow(_: usize) -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_allow_is_taken_off_the_connections() {
        assert_eq!(share(2176, 2, 128), 1024);
        assert_eq!(share(1024, 2, 128), 448);
        assert_eq!(share(100, 2, 128), 1, "one is served at a time");
        assert_eq!(share(usize::MAX, 2, 128), usize::MAX / 2 - 64);
        // Nobody needs more than what is there already.
        assert_eq!(connections(1, 1, 1), 1);
    }
}
