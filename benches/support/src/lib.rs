//! What `make bench`, `make scale` and `make routers` share. Nothing of it is in farebox itself.

#![expect(
    clippy::float_arithmetic,
    reason = "medians and ratios of measurements; no money is near"
)]
#![cfg_attr(
    feature = "traffic",
    expect(
        clippy::disallowed_methods,
        clippy::print_stdout,
        reason = "a benchmark is the process's edge: it reads the real clock, owns its tasks, and its children say where they listen"
    )
)]

pub mod children;
pub mod cpu;
pub mod machine;
pub mod farebox;
pub mod peers;
pub mod spread;
pub mod svg;
pub mod table;

#[cfg(feature = "traffic")]
pub mod wire;
#[cfg(feature = "traffic")]
pub mod sse;
#[cfg(feature = "traffic")]
pub mod asks;
#[cfg(feature = "traffic")]
pub mod upstream;
#[cfg(feature = "traffic")]
pub mod passthrough;
#[cfg(feature = "traffic")]
pub mod roles;
#[cfg(feature = "traffic")]
pub mod load;
#[cfg(feature = "traffic")]
pub mod reading;

/// What can go wrong in a benchmark is told to a person, once, as text.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
