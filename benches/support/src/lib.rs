//! What `make bench` and `make routers` share. Nothing of it is in farebox itself.

#![expect(
    clippy::float_arithmetic,
    reason = "medians and ratios of measurements; no money is near"
)]

pub mod children;
pub mod cpu;
pub mod farebox;
pub mod peers;
pub mod spread;
pub mod svg;

/// What can go wrong in a benchmark is told to a person, once, as text.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
