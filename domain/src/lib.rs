//! What is true in farebox, with nothing that happens: no clock, no socket, no file, no float.
//!
//! Read in this order:
//!
//! - [`ids`] names things; [`tokens`] and [`units`] count them; [`money`] is an integer, read from a [`decimal`];
//!   [`price`] turns them into money;
//! - [`limits`] is what an account may do at once; [`catalog`] is what is sold and by which engines;
//! - [`rate`] is how much a minute; [`route`] chooses among engines;
//!   [`split`] divides what is too much for a call;
//!   [`queue`] says whose turn it is where all are full; [`attempt`] decides what follows a failed try,
//!   [`retries`] how many of all requests may be tried again, [`ejection`] whether an engine is left out for what it did;
//! - [`ledger`] is one entry of the bill and how it is recomputed; [`month`] is what spending limits count by;
//! - [`key`] is what an API key may do; [`role`] is what a person of the operator's may do;
//! - [`refusal`] is every way to say no.
#![no_std]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may stop on a fault"))]

extern crate alloc;

pub mod ids;
pub mod tokens;
pub mod units;
pub mod decimal;
pub mod money;
pub mod price;
pub mod limits;
pub mod rate;
pub mod catalog;
pub mod route;
pub mod split;
pub mod queue;
pub mod attempt;
pub mod retries;
pub mod ejection;
pub mod ledger;
pub mod month;
pub mod key;
pub mod role;
pub mod refusal;
