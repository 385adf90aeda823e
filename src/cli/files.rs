//! How many files this process may have open, and how many clients' connections that carries.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for all else: the store and its ledger, the listeners, administrators, probes.
const SPARE: u64 = 128;

/// Raises the soft limit to the hard one, which an operator means it to have: it is low for programs that cannot count further.
/// Returns how many connections of clients there may be at once.
pub fn connections() -> usize {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => before.current,
    };
    connections_of(now)
}

/// Half of what is left of so many files: who comes in over a connection needs another to an engine.
fn connections_of(files: Option<u64>) -> usize {
    let half = files.map(|files| (files.saturating_sub(SPARE) / 2).max(1));
    half.map_or(usize::MAX, |half| usize::try_from(half).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_files_are_for_clients_and_there_is_always_one() {
        assert_eq!(connections_of(Some(20_000)), 9_936);
        assert_eq!(connections_of(Some(100)), 1);
        assert_eq!(connections_of(None), usize::MAX);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let connections = connections();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(connections, connections_of(limit.current));
    }
}
