//! Who may come in, how many of them at once, and for how much.
//!
//! - [`directory`]: every account and key, in memory: a request is authenticated without a disk or a database.
//! - [`concurrency`]: the cap on requests in flight, and the permit that ends with the last byte.
//! - [`rate`]: requests and tokens a minute.
//! - [`wallet`]: the ceilings on money, and what requests in flight hold of it.

pub mod concurrency;
pub mod rate;
pub mod wallet;
pub mod directory;
