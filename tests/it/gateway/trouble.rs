//! Engines in trouble, under load: killed, stalled, slow, flapping, answering rubbish. What another engine could have served before
//! its first byte is served, nothing is billed twice, and who left and came back is in the metrics.
//!
//! Here for ten seconds; for ten: `cargo nextest run --test it --run-ignored only --no-capture -E 'test(ten_minutes)'`.

use super::Gateway;
use super::money::entries;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::money::Picodollars;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const ENGINES: usize = 5;
/// Of the five at a time: the others can serve.
const IN_TROUBLE: usize = 2;
const CLIENTS: u64 = 16;
/// Each trouble lasts so long, so that an engine that falls silent is found out and left out.
const TROUBLE_LASTS: Duration = Duration::from_secs(5);
/// So many of each engine's tokens a second: an answer takes a quarter of one.
const RATES: [&str; 4] = ["--prefill-rate", "2000", "--decode-rate", "100"];

/// `farebox simulate`, which can be killed and started again at its address.
struct Process {
    address: String,
    child: Child,
}

impl Process {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = free.to_string();
        let child = Self::spawn(&address);
        Self { address, child }
    }

    fn spawn(address: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        let command = command.args(["simulate", "--listen", address]).args(RATES);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Killed,
    Stalled,
    Slow,
    Flapping,
    Rubbish,
}

impl Trouble {
    const ALL: [Self; 5] = [
        Self::Killed,
        Self::Stalled,
        Self::Slow,
        Self::Flapping,
        Self::Rubbish,
    ];

    async fn begins(self, at: &mut Process, client: &reqwest::Client) {
        match self {
            Self::Killed => at.kill(),
            Self::Stalled => at.signal("-STOP"),
            Self::Slow => tell(at, client, Some("slow:10")).await,
            Self::Flapping => tell(at, client, Some("percent/50:status:502")).await,
            Self::Rubbish => tell(at, client, Some("malformed:0")).await,
        }
    }

    async fn ends(self, at: &mut Process, client: &reqwest::Client) {
        match self {
            Self::Killed => at.child = Process::spawn(&at.address),
            Self::Stalled => at.signal("-CONT"),
            Self::Slow | Self::Flapping | Self::Rubbish => tell(at, client, None).await,
        }
    }
}

async fn tell(at: &Process, client: &reqwest::Client, trouble: Option<&str>) {
    let url = format!("{}/simulate/trouble", at.url());
    let told = client.post(url).json(&json!({ "trouble": trouble })).send().await;
    assert!(told.unwrap().status().is_success());
}

/// What came of one client's requests.
#[derive(Debug, Default)]
struct Seen {
    whole: Vec<String>,
    /// An error in the stream, after its first byte.
    cut: Vec<String>,
    /// An error instead of an answer.
    refused: Vec<String>,
}

async fn client_until(gateway: Arc<Gateway>, seed: u64, over: CancellationToken) -> Seen {
    let (mut random, mut seen) = (StdRng::seed_from_u64(seed), Seen::default());
    while !over.is_cancelled() {
        let stream = random.random_bool(0.7);
        let body = json!({
            "model": "m", "stream": stream, "max_tokens": random.random_range(1..40),
            "messages": [{ "role": "user", "content": format!("{seed}: tell me of the sea.") }],
        });
        let response = gateway.chat(&body).send().await.unwrap();
        let status = response.status();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let text = response.text().await.unwrap();
        if !status.is_success() {
            seen.refused.push(format!("{status}: {text}"));
        } else if !stream || text.ends_with("data: [DONE]\n\n") {
            seen.whole.push(id);
        } else {
            assert!(text.contains("\"error\""), "a stream that is cut says so: {text}");
            seen.cut.push(id);
        }
    }
    seen
}

/// Two engines at a time have a trouble each, until the time is over; then all are well.
async fn trouble(
    engines: &mut [Process],
    client: &reqwest::Client,
    lasts: Duration,
) -> BTreeMap<Trouble, usize> {
    let (began, mut random, mut met) = (Instant::now(), StdRng::seed_from_u64(7), BTreeMap::new());
    let mut next = 0;
    while began.elapsed() < lasts {
        let first = random.random_range(0..ENGINES);
        let both: [(usize, Trouble); IN_TROUBLE] = std::array::from_fn(|which| {
            next += 1;
            (
                (first + 1 + which * 2) % ENGINES,
                Trouble::ALL[next % Trouble::ALL.len()],
            )
        });
        for (engine, trouble) in both {
            trouble.begins(&mut engines[engine], client).await;
            *met.entry(trouble).or_default() += 1;
        }
        // Trouble takes its time: this is how long it lasts, and no condition.
        tokio::time::sleep(TROUBLE_LASTS).await;
        for (engine, trouble) in both {
            trouble.ends(&mut engines[engine], client).await;
        }
        all_answer(engines, client).await;
    }
    met
}

async fn all_answer(engines: &[Process], client: &reqwest::Client) {
    for engine in engines {
        let url = format!("{}/health", engine.url());
        while !client
            .get(&url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            tokio::task::yield_now().await;
        }
    }
}

fn models_yaml(engines: &[Process]) -> String {
    let urls: Vec<String> = engines.iter().map(Process::url).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    super::models(
        &urls,
        "timeouts: { first_event: 2s, whole_answer: 8s, between_tokens: 2s }\nretries: { attempts: 5, time: 30s, backoff: 10ms, budget_min_per_second: 10000 }",
    )
}

#[expect(clippy::print_stdout, reason = "the numbers of a long run are read")]
async fn load_in_trouble(lasts: Duration) {
    let mut engines: Vec<Process> = (0..ENGINES).map(|_| Process::start()).collect();
    let outside = super::client();
    all_answer(&engines, &outside).await;
    let gateway = Arc::new(Gateway::start(&models_yaml(&engines)).await);
    let over = CancellationToken::new();
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        clients.spawn(client_until(Arc::clone(&gateway), seed, over.clone()));
    }
    let met = trouble(&mut engines, &outside, lasts).await;
    over.cancel();
    let seen = clients.join_all().await;
    let all = |of: fn(&Seen) -> &Vec<String>| -> Vec<String> { seen.iter().flat_map(of).cloned().collect() };
    let (whole, cut) = (all(|seen| &seen.whole), all(|seen| &seen.cut));
    let refused: Vec<&String> = seen.iter().flat_map(|seen| &seen.refused).collect();
    everybody_is_back(&gateway).await;
    let metrics = gateway.app.render_metrics();
    println!(
        "{met:?}: {} whole, {} cut, {} refused",
        whole.len(),
        cut.len(),
        refused.len()
    );
    let told = [
        "farebox_engine_ejections_total{",
        "farebox_retries_total{",
        "farebox_attempt_faults_total{",
    ];
    for line in metrics
        .lines()
        .filter(|line| told.iter().any(|name| line.starts_with(name)))
    {
        println!("{line}");
    }
    assert_eq!(refused, [""; 0], "another engine could have served them");
    assert!(
        metrics.contains("farebox_engine_ejections_total{"),
        "nobody was left out"
    );
    let gateway = Arc::into_inner(gateway).unwrap();
    let (app, _data) = gateway.stop().await;
    billed_once(&entries(&*app.ledger).await, &whole, &cut);
}

/// Every engine serves again, as the metrics say: requests go on until it is so.
async fn everybody_is_back(gateway: &Gateway) {
    let began = Instant::now();
    loop {
        let metrics = gateway.app.render_metrics();
        let usable = metrics
            .lines()
            .filter(|line| line.starts_with("farebox_engine_usable{") && line.ends_with(" 1"));
        let ejected = gateway
            .app
            .registry()
            .engines()
            .iter()
            .any(|engine| engine.health.ejected().is_some());
        if usable.count() == ENGINES && !ejected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{metrics}");
        let body = json!({ "model": "m", "stream": true, "max_tokens": 1, "messages": [{ "role": "user", "content": "x" }] });
        assert!(gateway.chat(&body).send().await.unwrap().status().is_success());
    }
}

/// One entry for each request, with a cost where something was shown and none where nothing was.
fn billed_once(entries: &[Entry], whole: &[String], cut: &[String]) {
    let mut by_id: HashMap<String, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        by_id
            .entry(entry.id.to_text().as_str().to_owned())
            .or_default()
            .push(entry);
    }
    for id in whole.iter().chain(cut) {
        assert_eq!(by_id[id].len(), 1, "{id}");
    }
    for id in whole {
        let entry = by_id[id][0];
        assert_eq!(entry.state, EntryState::Completed, "{entry:?}");
        assert!(entry.cost > Picodollars::new(0), "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_engine_could_serve_is_served_and_billed_once() {
    load_in_trouble(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes"]
async fn for_ten_minutes_what_another_engine_could_serve_is_served_and_billed_once() {
    load_in_trouble(Duration::from_secs(600)).await;
}
