//! The command line of `farebox simulate`, and the settings that it becomes.

use std::net::SocketAddr;

use super::trouble::{TroubleRule, UnknownTrouble};

/// clap Args for `farebox simulate`.
#[derive(clap::Args, Clone, Debug)]
pub struct SimulateArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:9100")]
    pub listen: SocketAddr,
    /// Model that is served; repeat it for more
    #[arg(long = "model", default_value = "simulated")]
    pub models: Vec<String>,
    /// LoRA adapter that is loaded from the start; repeat it for more. Others are loaded at POST /v1/load_lora_adapter
    #[arg(long = "lora")]
    pub loras: Vec<String>,
    /// Milliseconds that it takes to load an adapter
    #[arg(long, default_value_t = 0)]
    pub lora_load_ms: u64,
    /// What the output follows from, with the prompt
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Prompt tokens a second, for each request; 0 is instant
    #[arg(long, default_value_t = 0)]
    pub prefill_rate: u64,
    /// Output tokens a second, for each choice; 0 is instant
    #[arg(long, default_value_t = 0)]
    pub decode_rate: u64,
    /// Requests that are decoded at a time
    #[arg(long, default_value_t = 256)]
    pub slots: usize,
    /// Requests that may wait for a slot before the engine answers 503; 0 is without bound
    #[arg(long, default_value_t = 0)]
    pub queue: usize,
    /// Blocks that the prefix cache holds; 0 is no cache
    #[arg(long, default_value_t = 65_536)]
    pub cache_blocks: usize,
    /// Tokens in a cache block
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    pub block_size: u64,
    /// Output tokens when the request names no maximum
    #[arg(long, default_value_t = 32)]
    pub default_output_tokens: u64,
    /// Prompt and output tokens together, at most; 0 is without bound
    #[arg(long, default_value_t = 131_072)]
    pub max_model_len: u64,
    /// Dimensions of an embedding when the request names none
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub dimensions: u64,
    /// Inputs of an embeddings request, at most; 0 is without bound
    #[arg(long, default_value_t = 0)]
    pub max_batch_inputs: usize,
    /// Trouble that every request has, such as `cut:3` (an unknown one lists them all)
    #[arg(long, value_parser = parse_rule)]
    pub trouble: Option<TroubleRule>,
}

fn parse_rule(words: &str) -> Result<TroubleRule, UnknownTrouble> {
    words.parse()
}

/// What an [`Engine`](super::Engine) is made from. Rates are tokens a second, 0 instant.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Models that are served.
    pub models: Vec<String>,
    /// LoRA adapters that are loaded from the start.
    pub loras: Vec<String>,
    /// Milliseconds that it takes to load another.
    pub lora_load_ms: u64,
    /// What the output follows from, with the prompt.
    pub seed: u64,
    /// Prompt tokens a second, for each request; 0 is instant.
    pub prefill_rate: u64,
    /// Output tokens a second, for each choice; 0 is instant.
    pub decode_rate: u64,
    /// Requests that are decoded at a time.
    pub slots: usize,
    /// Requests that may wait for a slot; 0 is without bound.
    pub queue: usize,
    /// Blocks that the prefix cache holds; 0 is no cache.
    pub cache_blocks: usize,
    /// Tokens in a cache block, at least one.
    pub block_size: u64,
    /// Output tokens when the request names no maximum.
    pub default_output_tokens: u64,
    /// Prompt and output tokens together, at most; 0 is without bound.
    pub max_model_len: u64,
    /// Dimensions of an embedding when the request names none.
    pub dimensions: u64,
    /// Inputs of an embeddings request, at most; 0 is without bound.
    pub max_batch_inputs: usize,
    /// Trouble that every request has.
    pub trouble: Option<TroubleRule>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            models: vec!["simulated".to_owned()],
            loras: Vec::new(),
            lora_load_ms: 0,
            seed: 0,
            prefill_rate: 0,
            decode_rate: 0,
            slots: 256,
            queue: 0,
            cache_blocks: 65_536,
            block_size: 16,
            default_output_tokens: 32,
            max_model_len: 131_072,
            dimensions: 64,
            max_batch_inputs: 0,
            trouble: None,
        }
    }
}

impl From<SimulateArgs> for Settings {
    fn from(args: SimulateArgs) -> Self {
        Settings {
            models: args.models,
            loras: args.loras,
            lora_load_ms: args.lora_load_ms,
            seed: args.seed,
            prefill_rate: args.prefill_rate,
            decode_rate: args.decode_rate,
            slots: args.slots,
            queue: args.queue,
            cache_blocks: args.cache_blocks,
            block_size: args.block_size,
            default_output_tokens: args.default_output_tokens,
            max_model_len: args.max_model_len,
            dimensions: args.dimensions,
            max_batch_inputs: args.max_batch_inputs,
            trouble: args.trouble,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: SimulateArgs,
    }

    #[test]
    fn no_arguments_are_the_default_settings() {
        let args = Program::try_parse_from(["simulate"]).unwrap().args;
        assert_eq!(args.listen, SocketAddr::from(([127, 0, 0, 1], 9100)));
        assert_eq!(
            format!("{:?}", Settings::from(args)),
            format!("{:?}", Settings::default())
        );
    }

    #[test]
    fn an_unknown_trouble_is_bad_usage() {
        assert!(Program::try_parse_from(["simulate", "--trouble", "zut"]).is_err());
        let args =
            Program::try_parse_from(["simulate", "--trouble", "cut:2", "--model", "a", "--model", "b"]);
        assert_eq!(args.unwrap().args.models, ["a", "b"]);
    }
}
