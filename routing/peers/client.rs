//! Sends each request at its moment, whatever has come of those before it, and reads its stream.

use crate::gateways::Gateway;
use crate::load::Load;
use farebox_bench_support::Outcome;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// What came of a request: the time to its first content, or what went wrong.
pub type Answer = Result<Duration, String>;

#[derive(Deserialize)]
struct Event {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

/// All of them, to the last answer's end.
pub async fn replay(gateway: &Gateway, load: &Load) -> Outcome<Vec<Answer>> {
    let client = reqwest::Client::builder().build()?;
    let url = format!("{}/v1/chat/completions", gateway.url);
    let begun = tokio::time::Instant::now();
    let mut sent = Vec::with_capacity(load.len());
    for (index, at) in load.at.iter().enumerate() {
        // Made before its moment, so that the making is not in any time.
        let request = client
            .post(&url)
            .bearer_auth(&gateway.key)
            .header("content-type", "application/json")
            .body(load.body(index));
        tokio::time::sleep_until(begun + *at).await;
        sent.push(tokio::spawn(async move {
            let faults = |fault: Box<dyn std::error::Error + Send + Sync>| fault.to_string();
            answer(request).await.map_err(faults)
        }));
    }
    let mut answers = Vec::with_capacity(sent.len());
    for task in sent {
        answers.push(task.await?);
    }
    Ok(answers)
}

async fn answer(request: reqwest::RequestBuilder) -> Outcome<Duration> {
    let sent = Instant::now();
    let mut response = request.send().await?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(format!("{status}: {}", response.text().await?).into());
    }
    let (mut first, mut unread) = (None, String::new());
    while let Some(bytes) = response.chunk().await? {
        unread.push_str(std::str::from_utf8(&bytes)?);
        while let Some(end) = unread.find('\n') {
            if first.is_none() && has_content(&unread[..end]) {
                first = Some(sent.elapsed());
            }
            if unread[..end].trim_end() == "data: [DONE]" {
                return first.ok_or_else(|| "a stream without content".into());
            }
            unread.drain(..=end);
        }
    }
    Err("a stream that was cut".into())
}

fn has_content(line: &str) -> bool {
    let event = line.strip_prefix("data:").map(str::trim);
    let event = event.and_then(|event| serde_json::from_str::<Event>(event).ok());
    event.is_some_and(|event| {
        let contents = event
            .choices
            .into_iter()
            .filter_map(|choice| choice.delta.content);
        contents.into_iter().any(|content| !content.is_empty())
    })
}
