//! What the crate promises: payloads of both engines.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop on a fault"
)]

mod pack;
mod decode;
