//! The dashboard in a real browser, in front of two replicas that share a database and a Valkey, under load: what an
//! administrator and an owner do, step by step (tests/browser/story.mjs), and what the gateway does meanwhile.
//!
//! It needs Chromium and the packages of tests/browser: `make browser` sets both up and runs it.

use crate::gateway::{ACCOUNT, ADMIN_TOKEN, Gateway, engine, eventually, models};
use crate::postgres;
use crate::replicas::{admin, chat, stop_all};
use crate::valkey::load::{Load, Seen};
use crate::valkey::{replicas, server};
use farebox::simulate::Settings;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients of the account: more than it may have at first, fewer than after it was raised.
const CLIENTS: usize = 300;
/// What a refusal may be late after the change was shown: what was on its way then.
const WITHIN: Duration = Duration::from_secs(1);

/// The story, and how it is told.
struct Story {
    child: Child,
    /// Taken while a line of it is waited for.
    says: Option<BufReader<ChildStdout>>,
    hears: ChildStdin,
}

impl Drop for Story {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Story {
    fn begin(env: &[(&str, String)]) -> Self {
        let suite = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");
        let node = std::env::var("NODE").unwrap_or_else(|_| "node".into());
        let mut child = Command::new(node)
            .arg("story.mjs")
            .current_dir(suite)
            .envs(env.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            says: child.stdout.take().map(BufReader::new),
            hears: child.stdin.take().unwrap(),
            child,
        }
    }

    async fn comes_to(&mut self, step: &str) {
        let mut says = self.says.take().unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            says.read_line(&mut line).unwrap();
            (line, says)
        });
        let (line, says) = reading.await.unwrap();
        self.says = Some(says);
        assert_eq!(line.trim_end(), step, "the story broke off: its faults are above");
    }

    fn answer(&mut self, text: &str) {
        writeln!(self.hears, "{text}").unwrap();
    }
}

/// What is sold: `m`, and `routed`, whose requests go by what the engines hold.
fn sold(engines: &[&str]) -> String {
    let text = models(engines, "");
    let (plain, listed) = text.split_once("engines:\n  - {").unwrap();
    let routed = plain
        .replace("models:\n", "")
        .replace("id: m\n", "id: routed\n")
        .replace("    task: chat\n", "    task: chat\n    routing: prefix\n");
    format!("{plain}{routed}engines:\n  - {{{listed}")
}

/// Has the second engine alone answer a prompt, and gives back who would be chosen for it now by the admin API.
async fn holder_of(prompt: &str, replica: &Gateway) -> String {
    let request = json!({ "model": "routed", "messages": [{ "role": "user", "content": prompt }] });
    admin(replica, Method::POST, "engines/e0/drain", Value::Null).await;
    let answer = replica.chat(&request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    admin(replica, Method::POST, "engines/e0/restore", Value::Null).await;
    let explained = admin(
        replica,
        Method::POST,
        "route/explain",
        json!({ "request": request }),
    )
    .await;
    assert_eq!(explained["chosen"], "e1", "{explained}");
    "e1".into()
}

fn refusals(seen: &Seen) -> usize {
    seen.refused.lock().values().sum()
}

/// A key of the account that may sign in, made by the admin API.
async fn owners_key(replica: &Gateway) -> String {
    let key = json!({ "account": ACCOUNT, "name": "owner", "scopes": ["inference", "usage", "dashboard"] });
    let made = admin(replica, Method::POST, "keys", key).await;
    made["secret"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and node packages: `make browser` sets them up"]
async fn an_administrator_raises_an_account_at_its_limit_and_the_refusals_stop() {
    let slow = || Settings {
        decode_rate: 50,
        slots: 1_000,
        ..Settings::default()
    };
    let (first, second) = (engine(slow()).await, engine(slow()).await);
    let (database, valkey) = (
        postgres::Server::shared().database().await,
        server::Server::start(),
    );
    let listed = sold(&[&first.url, &second.url]);
    let replicas = replicas(&listed, &database, &valkey, 2).await;
    valkey.settle().await;
    // Names are text, whatever they look like.
    let hostile = json!({ "name": "<img src=x onerror=alert(1)>" });
    let hostile = admin(&replicas[0], Method::POST, "accounts", hostile).await;
    // More keys than a page has.
    for number in 0..101 {
        let key = json!({ "account": hostile["id"], "name": format!("key {number}") });
        admin(&replicas[0], Method::POST, "keys", key).await;
    }
    let load = Load::begin(&replicas, CLIENTS, 100, 20);
    eventually("it is refused", || refusals(&load.seen) > 0).await;

    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    let prompt: String = (0..400).map(|word| format!("w{word} ")).collect();
    let mut story = Story::begin(&[
        ("DASHBOARD", format!("{}/dashboard/", replicas[0].admin_url)),
        ("SHOTS", shots.display().to_string()),
        ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
        ("OWNER_KEY", owners_key(&replicas[0]).await),
        ("ACCOUNT", ACCOUNT.to_owned()),
        ("PROMPT", prompt.clone()),
    ]);
    story.comes_to("raised").await;
    assert!(first.engine.peak_in_flight() + second.engine.peak_in_flight() <= 400);
    let raised = Instant::now();
    let mut last = (refusals(&load.seen), raised);
    // Until a second has gone by without a refusal by either replica.
    while last.1.elapsed() < WITHIN {
        let now = refusals(&load.seen);
        if now != last.0 {
            last = (now, Instant::now());
        }
        assert!(
            raised.elapsed() < 3 * WITHIN,
            "refusals go on: {:?}",
            load.seen.refused.lock()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    story.answer("no refusals");
    story.comes_to("told").await;
    let given = admin(
        &replicas[1],
        Method::GET,
        &format!("accounts/{ACCOUNT}"),
        Value::Null,
    )
    .await;
    assert_eq!(
        given["concurrent_requests"], 500,
        "on the other replica too: {given}"
    );
    assert_eq!(refusals(&load.seen), last.0, "none since");
    let seen = load.end().await;
    assert_eq!(*seen.broken.lock(), Vec::<String>::new());
    // Something to look at: an answer, and refusals of two kinds.
    replicas[0]
        .chat(&chat(json!({ "model": "unknown" })))
        .send()
        .await
        .unwrap();
    story.answer(&holder_of(&prompt, &replicas[0]).await);
    story.comes_to("explained").await;
    story.answer("go on");
    story.comes_to("done").await;
    assert!(story.child.wait().unwrap().success());
    drop(story);
    let kept = std::fs::read_dir(&shots).unwrap().count();
    assert!(kept > 40, "{kept} screenshots in {}", shots.display());
    let replicas: Vec<Arc<Gateway>> = replicas;
    stop_all(replicas).await;
}
