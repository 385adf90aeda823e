//! What the crate promises: payloads of both engines, and an engine's publisher on real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may stop on a fault, and is an engine on tasks of its own"
)]

mod pack;
mod engine;
mod decode;
mod follow;
