//! What routing promises: that its model of a cache is one, that it stays bounded, and what `make sim` shows of the whole.
#![allow(
    clippy::float_arithmetic,
    clippy::unwrap_used,
    reason = "tests may stop on a fault, and the simulation measures"
)]

#[expect(dead_code, reason = "the benchmark uses all of it")]
#[path = "../../sim/world/mod.rs"]
mod world;
mod model;
mod reported;
mod choice;
mod simulation;
