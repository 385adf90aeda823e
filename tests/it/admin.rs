//! The admin API through its real router, over a real store: every route, every refusal, by status and body.

pub(crate) mod harness;
mod refusals;
mod staff;
mod openapi;
mod rates;
mod requests;
mod resources;
mod pages;
mod bill;
mod changes;
mod money;
mod prices;
mod corrections;
