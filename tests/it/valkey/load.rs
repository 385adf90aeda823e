//! Clients that want more than an account may have, from all replicas at once.

use crate::gateway::Gateway;
use crate::replicas::chat;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// What they saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answered: AtomicUsize,
    /// What refusals said, and how often.
    pub(crate) refused: Mutex<BTreeMap<String, usize>>,
    /// Everything else, of which there should be nothing.
    pub(crate) broken: Mutex<Vec<String>>,
    stop: AtomicBool,
}

pub(crate) struct Load {
    pub(crate) seen: Arc<Seen>,
    clients: JoinSet<()>,
}

impl Load {
    /// So many clients ask one replica after the other, with pauses of so long and up to nine times that after a
    /// refusal, until [`Load::end`].
    pub(crate) fn begin(replicas: &[Arc<Gateway>], clients: usize, tokens: u64, pause_ms: u64) -> Self {
        let seen = Arc::new(Seen::default());
        let mut running = JoinSet::new();
        for number in 0..clients {
            let (seen, replicas) = (Arc::clone(&seen), replicas.to_vec());
            running.spawn(async move {
                let mut at = number;
                while !seen.stop.load(Ordering::SeqCst) {
                    let was_refused = ask(&replicas[at % replicas.len()], tokens, &seen).await;
                    at += 1;
                    if was_refused {
                        // As a client does; and all in other steps.
                        let pause_ms = pause_ms + number as u64 % (8 * pause_ms);
                        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    }
                }
            });
        }
        Self {
            seen,
            clients: running,
        }
    }

    /// Waits for so many answers more.
    pub(crate) async fn until_answered(&self, more: usize) {
        let from = self.seen.answered.load(Ordering::SeqCst);
        let (begun, seen) = (std::time::Instant::now(), &self.seen);
        while seen.answered.load(Ordering::SeqCst) < from + more {
            let refused = seen.refused.lock().clone();
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "no answers: {refused:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it, once each has its last answer.
    pub(crate) async fn end(mut self) -> Arc<Seen> {
        self.seen.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.seen
    }
}

/// Whether it was refused.
async fn ask(replica: &Gateway, tokens: u64, seen: &Seen) -> bool {
    let response = replica.chat(&chat(json!({ "max_tokens": tokens }))).send().await;
    let (status, body) = match response {
        Ok(response) => (response.status().as_u16(), response.json::<Value>().await),
        Err(fault) => {
            seen.broken.lock().push(fault.to_string());
            return true;
        }
    };
    match (status, body) {
        (200, Ok(_)) => {
            seen.answered.fetch_add(1, Ordering::SeqCst);
            false
        }
        (429, Ok(body)) => {
            let message = body["error"]["message"].as_str().unwrap().to_owned();
            *seen.refused.lock().entry(message).or_default() += 1;
            true
        }
        other => {
            seen.broken.lock().push(format!("{other:?}"));
            true
        }
    }
}
