//! One executable, three processes: the bench starts itself again as the engine and as the pass-through, so that each has its CPU
//! time to itself.

use crate::children::Process;
use crate::{Outcome, passthrough, upstream};
use std::net::SocketAddr;
use std::path::Path;

/// The first argument of a child that is to be the upstream.
const UPSTREAM_ROLE: &str = "role:upstream";
/// The first argument of a child that is to be the pass-through; the second is the upstream's address, the third how many clients it
/// has.
const PASSTHROUGH_ROLE: &str = "role:passthrough";

/// Plays the role that this process was started for, to its end. `None`: it is the bench.
pub fn play() -> Option<Outcome<()>> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(UPSTREAM_ROLE) => Some(upstream::run()),
        Some(PASSTHROUGH_ROLE) => {
            let upstream = arguments.next().unwrap_or_default();
            let clients = arguments.next().and_then(|count| count.parse().ok());
            Some(passthrough::run(&upstream, clients.unwrap_or(1)))
        }
        _ => None,
    }
}

/// The engine, as a child of its own: `upstream.rs`.
pub fn start_upstream(core: u32, folder: &Path) -> Outcome<(Process, SocketAddr)> {
    start(core, &[UPSTREAM_ROLE], &folder.join("upstream.log"))
}

/// The pass-through in front of it, with so many clients, as a child of its own: `passthrough.rs`.
pub fn start_passthrough(
    core: u32,
    upstream: SocketAddr,
    clients: u64,
    folder: &Path,
) -> Outcome<(Process, SocketAddr)> {
    let role = [PASSTHROUGH_ROLE, &upstream.to_string(), &clients.to_string()];
    start(core, &role, &folder.join("passthrough.log"))
}

fn start(core: u32, role: &[&str], log: &Path) -> Outcome<(Process, SocketAddr)> {
    let this = std::env::current_exe()?;
    let mut process = Process::start(core, &this, role, &[], log)?;
    let address = process.first_line()?.parse()?;
    Ok((process, address))
}
