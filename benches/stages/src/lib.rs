//! What each stage of a request costs, on its own and through the gateway's own code.
//!
//! [`STAGES`] is the one list of them. `clock.rs` times them (criterion); the binary counts the instructions of each under
//! valgrind's callgrind and holds the counts against `baseline.json`: `make stages`, a part of `make test`. docs/adr/0017
//! says why it is done so.
//!
//! A stage has what it works on made before it is measured; what it makes is dropped while it is, as a request pays for that
//! too. A stage that refuses or gets less than it should is an error, never a cheap run.

pub mod run;
mod gateway;
mod texts;
mod request;
mod answer;
mod ledger;
pub mod baseline;
pub mod count;

use run::{Fault, Run};

/// A stage.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// Its name: lower case with dashes.
    pub name: &'static str,
    /// How many runs a count is made of.
    pub runs: u64,
    /// Makes what every run of it works with.
    pub set_up: fn() -> Result<Box<dyn Run>, Fault>,
}

const fn stage(name: &'static str, runs: u64, set_up: fn() -> Result<Box<dyn Run>, Fault>) -> Stage {
    Stage { name, runs, set_up }
}

/// Every stage, in the order of a request.
pub const STAGES: &[Stage] = &[
    stage("authenticate-10-keys", 64, || request::authenticate(10)),
    stage("authenticate-100000-keys", 64, || request::authenticate(100_000)),
    stage("read-chat-1k", 64, || request::read_chat(1 << 10)),
    stage("read-chat-32k", 16, || request::read_chat(32 << 10)),
    stage("read-embeddings-64", 16, request::read_embeddings),
    stage("admit", 64, request::admit),
    stage("route-1-engine", 64, || request::route(1)),
    stage("route-8-engines", 64, || request::route(8)),
    stage("route-512-engines", 64, || request::route(512)),
    stage("route-512-engines-busy", 16, || request::route_busy(512)),
    stage("route-8-engines-prefix", 64, || request::route_prefix(8)),
    stage("route-512-engines-prefix", 16, || request::route_prefix(512)),
    stage("route-1000-models", 64, || request::route_models(1_000)),
    stage("edit-chat-1k", 64, || request::edit_chat(1 << 10)),
    stage("edit-chat-32k", 64, || request::edit_chat(32 << 10)),
    stage("stream-500-events", 8, || answer::stream(1)),
    stage("stream-500-events-8-a-read", 8, || answer::stream(8)),
    stage("stream-500-events-edited", 8, answer::edited_stream),
    stage("whole-chat", 64, answer::whole_chat),
    stage("whole-embeddings-64", 8, answer::whole_embeddings),
    stage("settle", 64, ledger::settle),
    stage("commit-64-entries", 8, ledger::commit),
];

/// The stage of this name.
pub fn find(name: &str) -> Option<&'static Stage> {
    STAGES.iter().find(|stage| stage.name == name)
}
