//! One binary for all that is promised.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop on a fault")]

mod architecture;
mod admin;
mod cli;
mod config;
mod ledger;
