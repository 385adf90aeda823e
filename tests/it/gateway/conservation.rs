//! Conservation: whatever way requests end, nothing stays in flight, and the ledger holds what the engines counted.

use super::{Gateway, engine, eventually, models};
use farebox::simulate::{RequestCount, Settings};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::EntryState;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Requests, where `FAREBOX_CONSERVATION_REQUESTS` does not say how many.
const REQUESTS: u64 = 2_000;
const AT_ONCE: u64 = 80;
const TROUBLES: [&str; 16] = [
    "status:503",
    "cut:3",
    "stall:2",
    "malformed:2",
    "no-done",
    "error-event:2",
    "crlf",
    "comments",
    "coalesce",
    "split-utf8",
    "bytewise",
    "usage-twice",
    "usage-missing",
    "flat-error",
    "multi-token:3",
    "usage-on-finish",
];

/// What a client saw of one request.
struct Seen {
    id: RequestId,
    /// It left when it had seen this many tokens, and the engine had made no more.
    left_at_token: Option<u64>,
    trouble: Option<&'static str>,
    complete: bool,
    finish_reason: bool,
}

const PATIENCE: &str = "timeouts: { first_event: 2s, between_tokens: 1s, whole_answer: 5s }
retries: { attempts: 2, backoff: 1ms }";

/// One request, by its number: every choice follows from it.
async fn send(gateway: &Gateway, number: u64) -> Option<Seen> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let stream = !mixed.is_multiple_of(3);
    let trouble = (mixed.is_multiple_of(2)).then(|| TROUBLES[usize::try_from(mixed / 7 % 16).unwrap()]);
    let leaves_after = (mixed % 5 == 1).then_some(mixed / 11 % 12);
    // An engine that goes on while the client's leaving reaches it makes tokens that nobody can count the same way
    // twice. So some clients leave an engine that stands still: there the count is exact.
    let left_at_token = (stream && trouble.is_none() && mixed % 5 == 2).then_some(1 + mixed / 13 % 4);
    let mut body = json!({
        "model": "m", "stream": stream, "max_tokens": 5 + mixed % 20,
        "messages": [{ "role": "user", "content": format!("{} {}", "a prompt that is shared by many ".repeat(9), mixed % 50) }],
    });
    if let Some(trouble) = trouble {
        body["simulate"] = trouble.into();
    }
    if let Some(token) = left_at_token {
        body["simulate"] = format!("stall:{token}").into();
    }
    if mixed.is_multiple_of(4) && stream {
        body["stream_options"] = json!({ "include_usage": mixed.is_multiple_of(8) });
    }
    let mut response = gateway.chat(&body).send().await.ok()?;
    let id = RequestId::parse(response.headers()["x-request-id"].to_str().unwrap()).unwrap();
    let ok = response.status() == 200;
    let (mut text, mut chunks, mut whole) = (Vec::new(), 0, false);
    loop {
        if leaves_after == Some(chunks) || left_at_token.is_some_and(|token| tokens_in(&text) == token) {
            break;
        }
        match response.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => {
                whole = true;
                break;
            }
            Err(_) => break,
        }
        chunks += 1;
    }
    let text = String::from_utf8_lossy(&text);
    let finish_reason = text.contains("\"finish_reason\":\"");
    let complete = ok && whole && !text.contains("\"error\"") && (!stream || text.contains("data: [DONE]"));
    Some(Seen {
        id,
        left_at_token,
        trouble,
        complete,
        finish_reason,
    })
}

/// Deltas with text in them.
fn tokens_in(text: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(text);
    let deltas = text.matches("\"delta\":{\"content\":\"").count();
    deltas
        .saturating_sub(text.matches("\"delta\":{\"content\":\"\"").count())
        .try_into()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_holds_what_the_engines_counted_however_requests_end() {
    let requests: u64 =
        std::env::var("FAREBOX_CONSERVATION_REQUESTS").map_or(REQUESTS, |requests| requests.parse().unwrap());
    let mut engines = Vec::new();
    for seed in 0..4 {
        engines.push(
            engine(Settings {
                seed,
                decode_rate: 40,
                ..Settings::default()
            })
            .await,
        );
    }
    let urls: Vec<_> = engines.iter().map(|engine| engine.url.as_str()).collect();
    let gateway = Arc::new(Gateway::start(&models(&urls, PATIENCE)).await);
    let mut clients = JoinSet::new();
    for worker in 0..AT_ONCE {
        let gateway = Arc::clone(&gateway);
        clients.spawn(async move {
            let mut seen = Vec::new();
            for number in (worker..requests).step_by(usize::try_from(AT_ONCE).unwrap()) {
                seen.extend(send(&gateway, number).await);
            }
            seen
        });
    }
    let seen: Vec<Seen> = clients.join_all().await.into_iter().flatten().collect();
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
    eventually("no engine is busy", || {
        engines.iter().all(|each| each.engine.in_flight() == 0)
    })
    .await;
    let gateway = Arc::into_inner(gateway).unwrap();
    let (app, _data) = gateway.stop().await;

    // By the engine too: a slow one may have begun to answer before another was asked.
    let mut counts: HashMap<(String, String), Vec<RequestCount>> = HashMap::new();
    for (number, each) in engines.iter().enumerate() {
        for count in each.engine.counts() {
            let attempt = (count.id.clone(), format!("e{number}"));
            counts.entry(attempt).or_default().push(count);
        }
    }
    let (mut states, mut faults) = (HashMap::<&str, u64>::new(), Vec::new());
    let mut exact_leavings = 0;
    for request in &seen {
        let Some(entry) = app.ledger.entry(request.id).await.unwrap() else {
            faults.push(format!("{:?}: no entry", request.trouble));
            continue;
        };
        *states.entry(entry.state.as_str()).or_default() += 1;
        let what = format!(
            "{:?} {} {:?} {:?}",
            request.trouble,
            entry.state.as_str(),
            entry.usage,
            entry.usage_source
        );
        if request.complete && !(request.finish_reason && entry.state == EntryState::Completed) {
            faults.push(format!("looked complete: {what}"));
        }
        // Of several attempts at the engine that answered it is the last.
        let answered_by = entry.engine.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some(count) = counts
            .get(&(entry.id.to_string(), answered_by))
            .and_then(|counts| counts.iter().rfind(|c| c.status == 200))
        else {
            if entry.state == EntryState::Completed {
                faults.push(format!("no engine knows: {what}"));
            }
            continue;
        };
        let ours = (
            entry.usage.prompt_tokens,
            entry.usage.cached_tokens,
            entry.usage.completion_tokens,
        );
        let theirs = (count.prompt_tokens, count.cached_tokens, count.completion_tokens);
        let told = request.trouble != Some("usage-missing");
        match entry.state {
            EntryState::Completed if told && ours != theirs => {
                faults.push(format!("{what} against {theirs:?}"))
            }
            EntryState::Cancelled if request.left_at_token.is_some() => {
                exact_leavings += 1;
                if Some(ours.2) != request.left_at_token || ours.0 != theirs.0 || ours.2 != theirs.2 {
                    faults.push(format!(
                        "left at {:?}: {what} against {theirs:?}",
                        request.left_at_token
                    ));
                }
            }
            // Never more than the engine made, whatever it made while the leaving was under way.
            EntryState::Cancelled | EntryState::Interrupted if ours.2 > theirs.2 || ours.0 > theirs.0 => {
                faults.push(format!(
                    "charged for more than was made: {what} against {theirs:?}"
                ));
            }
            _ => {}
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults, such as\n{}",
        faults.len(),
        faults[..faults.len().min(15)].join("\n")
    );
    let verified = app.ledger.verify().await.unwrap();
    assert_eq!(verified.discrepancies_total, 0);
    assert!(
        states["completed"] > requests / 3 && exact_leavings > 20,
        "{states:?}, {exact_leavings} left at a token"
    );
}
