//! The store's promises: a conformance suite for both databases, what is particular to each, and how a database comes to
//! the form that this farebox knows.

pub(crate) mod conformance;
pub(crate) mod sqlite;
mod postgres;
mod migrations;
