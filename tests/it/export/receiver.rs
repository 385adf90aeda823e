//! A stand-in for OpenMeter, Lago and Stripe that fails in every way a receiver can.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it does with one request, in place of taking it.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// Answers with this status, these headers and this body, and keeps nothing.
    Answers(u16, &'static str, &'static str),
    /// Reads the request and never answers.
    Silent,
    /// Takes nothing and closes in the middle of its answer's head.
    ClosesMidHead,
    /// Takes it, and closes without an answer: it will be told again.
    TakesAndCloses,
    /// Takes it, and closes in the middle of its answer's body.
    TakesAndClosesMidBody,
    /// Closes before it has read the request.
    ClosesAtOnce,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    /// The events in it by their ids, each as its text.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        if let Some(identifier) = self.form("identifier") {
            return vec![(identifier, self.body.clone())];
        }
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let events = json.as_array().or_else(|| json["events"].as_array()).unwrap();
        let id_of = |event: &serde_json::Value| {
            let id = event.get("id").or_else(|| event.get("transaction_id")).unwrap();
            id.as_str().unwrap().to_owned()
        };
        events
            .iter()
            .map(|event| (id_of(event), event.to_string()))
            .collect()
    }

    /// A field of a form.
    pub(crate) fn form(&self, name: &str) -> Option<String> {
        if !self.head.contains("x-www-form-urlencoded") {
            return None;
        }
        url::form_urlencoded::parse(self.body.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

#[derive(Debug, Default)]
struct State {
    troubles: VecDeque<Trouble>,
    /// Answered with this where a request has an event with this in it.
    refusals: Vec<(String, u16, &'static str)>,
    taken: Vec<Request>,
    requests: usize,
    /// So many are read before it falls silent.
    silent_after: Option<usize>,
}

/// The receiver. It ends with its runtime.
#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl StandIn {
    pub(crate) async fn start(troubles: impl IntoIterator<Item = Trouble>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/events", listener.local_addr().unwrap());
        let state = State {
            troubles: troubles.into_iter().collect(),
            ..State::default()
        };
        let stand_in = Self {
            url,
            state: Arc::new(Mutex::new(state)),
        };
        let serving = stand_in.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().converse(stream));
            }
        });
        stand_in
    }

    /// Refuses whatever has this text in it.
    pub(crate) fn refuse(&self, text: impl Into<String>, status: u16, saying: &'static str) {
        let refusal = (text.into(), status, saying);
        self.state.lock().unwrap().refusals.push(refusal);
    }

    pub(crate) fn refuse_no_more(&self) {
        self.state.lock().unwrap().refusals.clear();
    }

    /// Falls silent after so many more requests, or speaks again.
    pub(crate) fn silent_after(&self, more: Option<usize>) {
        let mut state = self.state.lock().unwrap();
        state.silent_after = more.map(|more| state.requests + more);
    }

    /// Requests that were read, taken or not.
    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    pub(crate) fn troubles_left(&self) -> usize {
        self.state.lock().unwrap().troubles.len()
    }

    pub(crate) fn taken(&self) -> Vec<Request> {
        self.state.lock().unwrap().taken.clone()
    }

    /// The ids of the events that it took. That a repetition says the same is asserted here.
    pub(crate) fn taken_ids(&self) -> BTreeSet<String> {
        let mut known = std::collections::BTreeMap::new();
        for (id, text) in self.taken().iter().flat_map(Request::events) {
            let before = known.insert(id, text.clone());
            assert!(before.is_none_or(|before| before == text), "a repetition differs");
        }
        known.into_keys().collect()
    }

    async fn converse(self, mut stream: TcpStream) {
        if matches!(self.next_trouble(true), Some(Trouble::ClosesAtOnce)) {
            return;
        }
        while let Some(request) = read(&mut stream).await {
            let trouble = self.next_trouble(false);
            let answer = self.answer(request, &trouble);
            match trouble {
                Some(Trouble::Silent) => std::future::pending().await,
                Some(Trouble::TakesAndCloses | Trouble::ClosesAtOnce) => return,
                Some(Trouble::ClosesMidHead) => {
                    let _ = stream.write_all(b"HTTP/1.1 200 O").await;
                    return;
                }
                Some(Trouble::TakesAndClosesMidBody) => {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{")
                        .await;
                    return;
                }
                Some(Trouble::Answers(..)) | None => {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// The next trouble; of those that come before a request is read only the one that is next.
    fn next_trouble(&self, before_reading: bool) -> Option<Trouble> {
        let mut state = self.state.lock().unwrap();
        let is_early = matches!(state.troubles.front(), Some(Trouble::ClosesAtOnce));
        if before_reading && !is_early {
            return None;
        }
        if state.silent_after.is_some_and(|most| state.requests >= most) {
            return Some(Trouble::Silent);
        }
        state.troubles.pop_front()
    }

    fn answer(&self, request: Request, trouble: &Option<Trouble>) -> String {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        let (status, headers, body) = match trouble {
            Some(Trouble::Answers(status, headers, body)) => (*status, *headers, *body),
            Some(Trouble::Silent | Trouble::ClosesMidHead | Trouble::ClosesAtOnce) => return String::new(),
            Some(Trouble::TakesAndCloses | Trouble::TakesAndClosesMidBody) | None => {
                let refusal = state
                    .refusals
                    .iter()
                    .find(|(text, ..)| request.body.contains(text));
                if let Some(&(_, status, saying)) = refusal {
                    (status, "", saying)
                } else {
                    state.taken.push(request);
                    (200, "", "{}")
                }
            }
        };
        let length = body.len();
        format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
    }
}

/// One request; `None` at the connection's end.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0_usize);
            if bytes.len() >= end + 4 + length {
                let body = String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).unwrap();
                return Some(Request { head, body });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
