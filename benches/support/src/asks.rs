//! What clients ask for, word for word, and what a whole answer to it has.

use std::net::SocketAddr;
use std::time::Duration;

/// The model that chat requests name.
pub const CHAT_MODEL: &str = "meta-llama/Llama-3.3-70B-Instruct-Turbo";
/// The model that requests for embeddings name.
pub const EMBEDDING_MODEL: &str = "BAAI/bge-small-en-v1.5";
/// Texts in a request for embeddings.
pub const INPUTS: usize = 64;
/// Floats in each answer to one.
pub const DIMENSIONS: usize = 384;

/// Where clients go and with which key.
#[derive(Clone)]
pub struct Target {
    /// Of the gateway, or of the upstream itself.
    pub address: SocketAddr,
    /// Sent as a bearer token.
    pub key: String,
    /// What is named for chats; the upstream takes any.
    pub chat_model: &'static str,
    /// Likewise for embeddings.
    pub embedding_model: &'static str,
}

/// What clients ask for.
#[derive(Clone, Copy)]
pub struct Ask {
    /// How many clients at a time.
    pub clients: u32,
    /// The words of it.
    pub of: Kind,
    /// Spread the clients' starts over this long, so that their events do not come all at once.
    pub spread: Duration,
}

/// A request's kind.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A chat that is answered at once, with so many completion tokens.
    Chat {
        /// Of the answer.
        tokens: u32,
    },
    /// A chat that is answered in a stream.
    Stream {
        /// Content events.
        events: u32,
        /// How far apart they are, which the upstream takes from `seed`; zero is as fast as they go.
        pace: Duration,
        /// Whether it is to end with usage.
        include_usage: bool,
    },
    /// Embeddings of [`INPUTS`] texts.
    Embeddings,
}

impl Kind {
    /// Content, finish_reason, usage if asked for, `[DONE]`. `None`: it is no stream.
    pub fn expected_events(self) -> Option<u64> {
        match self {
            Self::Stream {
                events,
                include_usage,
                ..
            } => Some(u64::from(events) + 2 + u64::from(include_usage)),
            Self::Chat { .. } | Self::Embeddings => None,
        }
    }

    /// What a client sends, head and body, as openai-python words it. A chat is about 1 KB, embeddings are 14.
    pub fn request(self, target: &Target) -> Vec<u8> {
        let (path, body) = match self {
            Self::Chat { tokens } => ("chat/completions", chat(target.chat_model, tokens, "")),
            Self::Stream {
                events,
                pace,
                include_usage,
            } => {
                let usage = if include_usage {
                    r#","stream_options":{"include_usage":true}"#
                } else {
                    ""
                };
                let streamed = format!(r#","stream":true{usage},"seed":{}"#, pace.as_millis());
                ("chat/completions", chat(target.chat_model, events, &streamed))
            }
            Self::Embeddings => ("embeddings", embeddings(target.embedding_model)),
        };
        let (host, key, length) = (target.address, &target.key, body.len());
        let accept = "application/json";
        format!(
            "POST /v1/{path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nContent-Type: application/json\r\n\
             User-Agent: OpenAI/Python 3.54.0\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

fn chat(model: &str, max_tokens: u32, more: &str) -> String {
    let prompt = "Tell me how a fare box knows what each passenger owes. ".repeat(13);
    format!(
        r#"{{"messages":[{{"role":"system","content":"You are a patient conductor who explains things in plain words, with an example each time, and never makes up a number."}},{{"role":"user","content":"{prompt}"}}],"model":"{model}","max_tokens":{max_tokens},"temperature":0.7,"top_p":0.95{more}}}"#
    )
}

fn embeddings(model: &str) -> String {
    let passage = "\"A fare box counts each coin as it drops, keeps what it has counted when the lights go out, and lets nobody \
                   ride further than the fare allows, however full the tram may be on a Monday morning in the rain.\"";
    let inputs = vec![passage; INPUTS].join(",");
    format!(r#"{{"input":[{inputs}],"model":"{model}","encoding_format":"float"}}"#)
}
