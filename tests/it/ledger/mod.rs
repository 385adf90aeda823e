//! The ledger's promises: a conformance suite for any `Ledger`, what only SQLite does, and the grouped commit.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop on a fault")]

pub(crate) mod samples;
mod conformance;
mod sqlite;
mod postgres;
mod settler;
mod reconcile;
mod rerate;
mod measure;
mod measure_postgres;
