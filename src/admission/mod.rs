//! Who may come in, and how many of them at once.
//!
//! - [`directory`]: every account and key, in memory: a request is authenticated without a disk or a database.
//! - [`concurrency`]: the cap on requests in flight, and the permit that ends with the last byte.

pub mod concurrency;
pub mod directory;
