//! Engines that tell what their KV caches hold: what they say, read from the MessagePack in which they say it.

mod msgpack;
mod decode;

pub use decode::{Batch, Event, Stored, decode};
