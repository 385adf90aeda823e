//! Routing that knows where the cache is.
//!
//! A prompt's prefill is what it costs, and a prefix that an engine still holds costs nothing. So a request goes where it is
//! estimated to be served first, with what it would make the others wait counted in:
//!
//! 1. a [`Prompt`] is cut into blocks, each named by everything before it;
//! 2. the [`PrefixIndex`] tells how many leading blocks each engine holds: its [`CacheView`] is modelled from what was sent
//!    there, or told by the engine's own events;
//! 3. an [`Estimate`] for each engine, in microseconds: the prefill that is left, the queue ahead of it, the decode load,
//!    at the [`Rates`] that were observed;
//! 4. the [`ModelRouter`] puts these together; whoever is chosen is [`dispatched`](ModelRouter::dispatch) to, and its
//!    answer corrects the view, the rates and the [`Trust`] in the prediction.
//!
//! And of engines that are routed in any way: [`Latencies`] tell which is much slower than its like.
//!
//! Architecture Invariant: there is no clock, no task, no socket and no randomness here. Time is an argument, so that a
//! simulation runs the same code in virtual time.

mod fading;
mod prompt;
mod divisor;
mod index;
mod lengths;
mod load;
mod rates;
mod trust;
mod latency;
mod told;
mod estimate;
mod dispatched;
mod router;

pub use dispatched::{Answered, Dispatched, Foretold};
pub use estimate::{Estimate, Facts, ONE, estimate};
pub use index::{CacheView, Held, PrefixIndex, Sent, TooManyEngines};
pub use latency::{FirstToken, Latencies};
pub use lengths::Lengths;
pub use load::{EngineLoad, Mark};
pub use prompt::{Block, Cut, Prompt, SequenceHash, block_after, namespace};
pub use rates::{Pace, Rates, Speed};
pub use router::{ModelRouter, Score, Seat, Weighing};
pub use told::{Hearing, Source, Told};
pub use trust::Trust;
