//! x
pub mod ledger;
pub mod store;
pub mod clock;
