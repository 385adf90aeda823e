//! farebox: an OpenAI-compatible gateway that puts an exact per-token price on engines that you run.
//!
//! # The life of a request
//!
//! ```text
//! Request -authenticate-> Caller -admit-> Admitted -route-> Route -forward-> Upstream
//!         -meter-> (the same bytes, Usage) -settle-> Receipt
//! ```
//!
//! [`http`] takes it in and is the only code that knows status codes; [`pipeline`] is the seven calls on one
//! screen. [`admission`] decides who may come in and how many at once, [`engines`] is the upstream side, and
//! [`ledger`] writes down what was used, which [`bill`] makes receipts and statements of, [`export`] tells a receiver of,
//! and [`reconcile`] holds against what the engines counted. [`store`] is the disk beneath. [`app`] puts them together;
//! [`cli`] is the way in for an operator, [`config`] reads models.yaml, [`telemetry`] defines every metric and log line,
//! and [`simulate`] is an engine for tests, which knows nothing of the rest.
//!
//! docs/ARCHITECTURE.md says which of them may know which; `tests/it/architecture.rs` holds it.

pub mod app;
pub mod http;
pub mod pipeline;
pub mod admission;
pub mod engines;
pub mod ledger;
pub mod bill;
pub mod export;
pub mod reconcile;
pub mod store;
pub mod config;
pub mod telemetry;
pub mod clock;
pub mod secrets;
pub mod admin_api;
pub mod cli;
pub mod simulate;
