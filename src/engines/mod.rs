//! The upstream side: engines as they are now.
//!
//! - [`registry`]: what models.yaml sells, joined to the engines that serve it;
//! - [`prefix`]: which of them holds what of a prompt, and what it would cost there;
//! - [`events`]: what an engine itself tells of its cache;
//! - [`waiting`]: where requests wait while every engine of their model is full;
//! - [`prompt`]: how many tokens a model's prompts have, counted before an engine has seen them;
//! - [`clients`]: what all of them are called with;
//! - [`client`]: one engine, how it is called, and its count of requests in flight;
//! - [`counters`]: what it counted itself, for `farebox ledger reconcile`;
//! - [`gauges`]: what it says of itself at the moment: what runs, what waits, how full its cache is;
//! - [`health`]: whether it is up, by probe and by what it does to requests;
//! - [`outlier`]: which of a model's engines are left out for being slow, and what is left where all are left out;
//! - `transport`, `pool`, `driven`: how requests go to it, the connections that are kept, and one of them;
//! - [`sse`]: its streams, cut into events without copying them.

pub mod registry;
pub mod prefix;
pub mod events;
pub mod waiting;
pub mod prompt;
pub mod adapters;
pub mod clients;
pub mod client;
pub mod counters;
pub mod gauges;
pub mod health;
pub mod outlier;
pub mod sse;
mod transport;
mod pool;
mod driven;
