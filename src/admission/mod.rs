//! Who may come in, how many of them at once, and for how much.
//!
//! - [`hmac`]: signatures of keys whose secret is not kept.
//! - [`keys`], [`directory`]: every account and key, in memory: a request is authenticated without a disk or a database.
//!   `listing` has them in the order in which they are shown.
//! - [`jwt`], [`purse`]: tokens that are signed with a key, and what is spent with them.
//! - [`concurrency`]: the cap on requests in flight, and the permit that ends with the last byte.
//! - [`rate`]: requests and tokens a minute.
//! - [`shared`]: the cap and the rates over all replicas.
//! - [`staff`]: those who administer, by their tokens; `revocation` ends keys and tokens.
//! - [`attempts`]: guesses at a secret, slowed.
//! - [`wallet`]: the ceilings on money, and what requests in flight hold of it.

pub mod concurrency;
pub mod rate;
pub mod shared;
pub mod wallet;
mod revocation;
pub mod hmac;
mod listing;
pub mod keys;
pub mod jwt;
pub mod purse;
pub mod directory;
pub mod staff;
pub mod attempts;
