//! The simulated engine: an engine, not a model, for tests, benchmarks and a first look.
//!
//! It speaks as vLLM does and imports nothing of the gateway. Its text means nothing, but its tokens are exact: what
//! it counted for each request (`GET /simulate/requests`, [`Engine::counts`]) is the oracle that the gateway's ledger
//! is checked against. On request it does wrong what engines do wrong; `trouble.rs` has the list.
//!
//! A request goes through `generate` (the JSON read, the trouble chosen), gets a `ticket` and a slot, and is
//! answered by a `script` that a `body` plays, or `whole`.

mod args;
mod server;
mod routes;
mod engine;
mod adapters;
mod generate;
mod refusal;
mod request;
mod prompt;
mod tokens;
mod schema;
mod ticket;
mod slots;
mod cache;
mod records;
mod choice;
mod text;
mod logprobs;
mod wire;
mod script;
mod pace;
mod body;
mod writes;
mod whole;
mod embeddings;
mod trouble;
mod metrics;
mod clock;
#[cfg(test)]
mod tests;

pub use args::{Settings, SimulateArgs};
pub use engine::Engine;
pub use records::RequestCount;
pub use server::run;
pub use trouble::{TroubleRule, UnknownTrouble};
