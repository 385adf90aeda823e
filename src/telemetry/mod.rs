//! Every metric and every log field, each defined once. Neither ever holds a prompt, an output or a key.

pub mod metrics;
pub mod log;
pub mod request_log;
pub mod refusals;
pub mod tally;
