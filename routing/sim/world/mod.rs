//! What is simulated: requests, engines, and the gateway that places one at the other. The benchmark and the tests share it.
//!
//! - `trace`: requests, from a file or made up
//! - `engine`: an engine that batches continuously, prefills in chunks and keeps a cache of blocks
//! - `policy`: the gateway's side, with farebox's own routing
//! - `run`: one policy under one load, in virtual time

pub mod trace;
pub mod engine;
pub mod policy;
pub mod run;
