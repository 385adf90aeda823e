//! One binary for all that is promised.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may stop on a fault, and owns its own clock and tasks"
)]

mod architecture;
mod admin;
mod config;
mod ledger;
