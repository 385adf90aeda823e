//! What clients send and what engines answer: made here, the same each time.

use bytes::Bytes;
use std::fmt::Write as _;

/// The chat model, as it is sold.
pub const CHAT: &str = "example/chat-70b";
/// The same, as the engines call it.
pub const CHAT_SERVED: &str = "/models/chat-70b-fp8";
/// The embedding model, as it is sold and as the engines call it.
pub const EMBEDDING: &str = "example/embed-384";

/// Events of a stream, but for its first, its last and its usage.
pub const EVENTS: usize = 500;

const SENTENCE: &str =
    "The quick brown fox said \\\"no\\\" to the lazy dog;\\nit was late, and caf\u{e9}s had closed. ";

/// So many bytes of JSON text, and a few more.
fn prose(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + SENTENCE.len());
    while text.len() < bytes {
        text.push_str(SENTENCE);
    }
    text
}

/// A streamed chat request of about so many bytes: a system prompt and turns of at most 2 KiB.
pub fn chat_request(bytes: usize) -> Bytes {
    let mut body = format!(
        r#"{{"model":"{CHAT}","temperature":0.7,"max_tokens":256,"stream":true,"stream_options":{{"include_usage":true}},"messages":[{{"role":"system","content":"You are a helpful assistant."}}"#
    );
    let mut role = "user";
    while body.len() + 100 < bytes {
        let content = prose((bytes - body.len() - 100).min(2_000));
        // Writing into a string cannot fail.
        let _ = write!(body, r#",{{"role":"{role}","content":"{content}"}}"#);
        role = if role == "user" { "assistant" } else { "user" };
    }
    body.push_str("]}");
    body.into()
}

/// An embeddings request with 64 inputs of a sentence each.
pub fn embeddings_request() -> Bytes {
    let inputs = vec![format!("\"{SENTENCE}\""); 64].join(",");
    format!(r#"{{"model":"{EMBEDDING}","input":[{inputs}],"encoding_format":"float"}}"#).into()
}

/// The usage that answers end with. It is small, so that no number of runs uses up a rate.
pub const USAGE: &str = r#"{"prompt_tokens":12,"total_tokens":16,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":8}}"#;

/// A stream of the model of this name, an event each. With `running`, each has a usage, as vLLM sends it when it is asked to.
pub fn events(model: &str, running: bool) -> Vec<String> {
    let chunk = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion.chunk\",\
             \"created\":1700000000,\"model\":\"{model}\",\"choices\":[{choices}]{usage}}}\n\n"
        )
    };
    let running = |tokens: usize| match running {
        true => format!(
            r#","usage":{{"prompt_tokens":12,"total_tokens":{},"completion_tokens":{tokens}}}"#,
            tokens + 12
        ),
        false => String::new(),
    };
    let delta = |delta: &str, finish: &str| {
        format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}"#)
    };
    let mut events = vec![chunk(
        &delta(r#"{"role":"assistant","content":""}"#, "null"),
        &running(0),
    )];
    events
        .extend((1..=EVENTS).map(|token| chunk(&delta(r#"{"content":" token"}"#, "null"), &running(token))));
    events.push(chunk(&delta("{}", "\"stop\""), &running(EVENTS)));
    events.push(chunk("", &format!(",\"usage\":{USAGE}")));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// A chat answer in one piece, of about a kilobyte.
pub fn chat_answer() -> Bytes {
    let content = prose(700);
    format!(
        r#"{{"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion","created":1700000000,"model":"{CHAT_SERVED}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"logprobs":null,"finish_reason":"stop"}}],"usage":{USAGE}}}"#
    )
    .into()
}

/// Embeddings of 64 inputs, 384 numbers each.
pub fn embeddings_answer() -> Bytes {
    let numbers: Vec<String> = (0..384)
        .map(|at| format!("-0.0{}", 12_345_678 + at * 7_919))
        .collect();
    let numbers = numbers.join(",");
    let item = |index| format!(r#"{{"object":"embedding","index":{index},"embedding":[{numbers}]}}"#);
    let items: Vec<String> = (0..64).map(item).collect();
    format!(
        r#"{{"object":"list","data":[{}],"model":"{EMBEDDING}","usage":{{"prompt_tokens":64,"total_tokens":64}}}}"#,
        items.join(",")
    )
    .into()
}
