//! One binary for all that is promised.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may stop on a fault, and owns its own tasks and environment"
)]

mod architecture;
mod admin;
mod dashboard;
mod browser;
mod cli;
mod config;
mod crash;
mod gateway;
mod ledger;
mod owner;
mod keys;
mod export;
mod prompt;
mod postgres;
mod place;
mod replicas;
mod valkey;
mod chaos;
mod store;
mod outbox;
