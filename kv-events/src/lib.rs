//! Engines that tell what their KV caches hold.
//!
//! vLLM and SGLang publish each block that they cache or evict, over ZeroMQ. [`follow`] hears one engine's events and keeps
//! its [`CacheView`](farebox_routing::CacheView) in each model's index as they say, so that routing knows rather than guesses:
//!
//! 1. a [`Feed`] brings the messages, `[topic, sequence, payload]`;
//! 2. [`decode`] reads the payload, in each encoding that the two engines have used;
//! 3. the sequence is checked: what was missed is asked for again, or what is known is forgotten;
//! 4. each block is told to the views under the name that a prompt of the same tokens has. A prompt is found if it is cut
//!    into blocks of [`Counters::block_size`] and has the [`namespace`](farebox_routing::namespace) of the adapter's name as
//!    the engine has it, and of its cache salt.
//!
//! # Who binds
//!
//! vLLM: `--kv-events-config '{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":E,"replay_endpoint":R}'`; SGLang:
//! `--kv-events-config '{"publisher":"zmq","endpoint":E,"replay_endpoint":R}'`. With `tcp://*:5557` the engine binds
//! ([`Feed::Connect`]); with `tcp://gateway:5557` it connects, and the gateway must listen ([`Feed::Listen`]), on a port for
//! each engine. `R` is always bound by the engine, so it is `tcp://*:5558` there.
//!
//! # What goes missing
//!
//! Each data-parallel rank publishes a sequence of its own, from port + rank, and says its rank in each batch: sequences are
//! told apart by it. A view holds what any of an engine's ranks holds. For each rank:
//!
//! | what is heard | what is done |
//! | --- | --- |
//! | the next number | applied |
//! | a later one | a replay of what is between. It begins at the last batch that was applied: if that is not the same there, the engine restarted meanwhile. What stays missing resets the rank |
//! | an earlier one | the engine has restarted: the rank is reset |
//! | the first, and it is not 0 | a replay of all that the engine still has |
//! | nothing | what is known stays |
//! | no connection | it is opened again; what is known stays, but is not believed until the next message ([`Hearing`](farebox_routing::Hearing)) |
//! | what cannot be read | counted; if it had a place in the sequence, there is a gap |
//!
//! A reset forgets the rank's blocks, and goes on from what is heard. Blocks that follow one that was forgotten cannot be
//! placed: they are counted ([`Counters::orphans`]), and are known again once the engine has evicted and stored them anew.
//!
//! # Bounds
//!
//! A message has at most 16 MiB, an engine 4,194,304 blocks and 256 ranks; 16 messages wait, and then the publisher is held
//! back. Nothing is spawned: every connection is polled by the task that [`follow`] runs in.
//!
//! # What is left out
//!
//! Blocks on anything but a GPU; layers that attend to a window, or keep a state; SGLang while its block hashes were not
//! chained, and its EAGLE caches, whose tokens are pairs; `ipc://` and encrypted endpoints. SGLang does not say which
//! adapter a block belongs to.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may stop on a fault"))]

mod msgpack;
mod decode;
mod counters;
mod cache;
mod zmtp;
mod feed;
mod follow;

pub use counters::Counters;
pub use decode::{Batch, Event, Stored, decode};
pub use feed::{Endpoint, Feed, NotAnEndpoint};
pub use follow::{Source, follow};
