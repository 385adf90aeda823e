//! The request line: one for each request, put together in memory and written many at a time.
//!
//! A line costs its formatting and no system call. What was put together is written within [`WRITE_EVERY`], and at
//! the end; a process that is killed loses so much of its log, and nothing of its ledger.

use farebox_domain::ids::{EngineName, RequestId};
use farebox_domain::ledger::Entry;
use parking_lot::Mutex;
use std::io::Write as _;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The longest that a line waits to be written.
pub const WRITE_EVERY: Duration = Duration::from_millis(50);
/// What is kept for a reader that does not read. Beyond it lines are left out, and counted.
const BUFFER_LIMIT_BYTES: usize = 8 << 20;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// There are none.
    Off,
    /// `name=value`, for people.
    Text,
    /// A JSON object.
    Json,
}

/// A field's value.
enum Value<'a> {
    Text(&'a str),
    Number(u64),
}

/// Lines on their way out.
#[derive(Debug)]
pub struct RequestLog {
    style: Style,
    waiting: Mutex<Waiting>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    left_out: u64,
    last_time: LastTime,
}

impl RequestLog {
    /// A log of this style.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            waiting: Mutex::default(),
            some: Notify::new(),
        }
    }

    /// A request that was admitted has ended. `parts` is how many it was sent in, if it was split.
    pub fn settled(&self, now_ms: u64, entry: &Entry, parts: Option<u64>) {
        use Value::{Number, Text};
        if self.style == Style::Off {
            return;
        }
        let (id, timings) = (entry.id.to_text(), &entry.timings);
        self.put(
            now_ms,
            &[
                ("request_id", Some(Text(id.as_str()))),
                ("account", Some(Text(entry.account.as_str()))),
                ("key", Some(Text(entry.key.as_str()))),
                ("model", Some(Text(entry.model.as_str()))),
                ("engine", entry.engine.as_ref().map(EngineName::as_str).map(Text)),
                ("endpoint", Some(Text(entry.endpoint.as_str()))),
                ("parts", parts.map(Number)),
                ("outcome", Some(Text(entry.state.as_str()))),
                ("prompt_tokens", Some(Number(entry.usage.prompt_tokens))),
                ("cached_tokens", Some(Number(entry.usage.cached_tokens))),
                ("completion_tokens", Some(Number(entry.usage.completion_tokens))),
                ("usage_source", Some(Text(entry.usage_source.as_str()))),
                (
                    "cost_picodollars",
                    Some(Number(u64::try_from(entry.cost.get()).unwrap_or(u64::MAX))),
                ),
                ("queue_us", Some(Number(timings.queue_us))),
                ("ttft_us", timings.ttft_us.map(Number)),
                ("total_us", Some(Number(timings.total_us))),
            ],
        );
    }

    /// A request was answered with an error. `route` is one of a closed set.
    pub fn refused(&self, now_ms: u64, id: RequestId, route: &str, status: u16, code: &str) {
        use Value::{Number, Text};
        if self.style == Style::Off {
            return;
        }
        let id = id.to_text();
        self.put(
            now_ms,
            &[
                ("request_id", Some(Text(id.as_str()))),
                ("route", Some(Text(route))),
                ("outcome", Some(Text("refused"))),
                ("status", Some(Number(status.into()))),
                ("code", Some(Text(code))),
            ],
        );
    }

    fn put(&self, now_ms: u64, fields: &[(&str, Option<Value<'_>>)]) {
        let mut waiting = self.waiting.lock();
        if waiting.lines.len() > BUFFER_LIMIT_BYTES {
            waiting.left_out += 1;
            return;
        }
        let was_empty = waiting.lines.is_empty();
        let Waiting { lines, last_time, .. } = &mut *waiting;
        let time = last_time.at(now_ms);
        match self.style {
            Style::Json => put_json(lines, time, fields),
            Style::Text | Style::Off => put_text(lines, time, fields),
        }
        drop(waiting);
        if was_empty {
            self.some.notify_one();
        }
    }

    /// Writes lines as they come, until `stop`, and then what is left.
    pub async fn run(&self, mut out: impl AsyncWrite + Unpin, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.some.notified() => {}
                () = stop.cancelled() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(WRITE_EVERY) => {}
                () = stop.cancelled() => {}
            }
            self.write_waiting(&mut out).await;
        }
        self.write_waiting(&mut out).await;
    }

    async fn write_waiting(&self, out: &mut (impl AsyncWrite + Unpin)) {
        let (mut lines, left_out) = {
            let mut waiting = self.waiting.lock();
            // As much again is soon there.
            let room = waiting.lines.len();
            let lines = std::mem::replace(&mut waiting.lines, Vec::with_capacity(room));
            (lines, std::mem::take(&mut waiting.left_out))
        };
        if left_out > 0 {
            let _ = writeln!(
                lines,
                "{left_out} request lines were left out: the log was not read"
            );
        }
        // A log that nobody reads any more is no reason to stop serving.
        let _ = out.write_all(&lines).await;
        let _ = out.flush().await;
    }
}

fn put_text(lines: &mut Vec<u8>, time: &[u8], fields: &[(&str, Option<Value<'_>>)]) {
    lines.extend_from_slice(time);
    lines.extend_from_slice(b"  INFO farebox::request:");
    for (name, value) in fields {
        let Some(value) = value else { continue };
        lines.push(b' ');
        lines.extend_from_slice(name.as_bytes());
        lines.push(b'=');
        put_value(lines, value);
    }
    lines.push(b'\n');
}

fn put_json(lines: &mut Vec<u8>, time: &[u8], fields: &[(&str, Option<Value<'_>>)]) {
    lines.extend_from_slice(b"{\"timestamp\":\"");
    lines.extend_from_slice(time);
    lines.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"farebox::request\"");
    for (name, value) in fields {
        let Some(value) = value else { continue };
        lines.extend_from_slice(b",\"");
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(b"\":");
        put_value(lines, value);
    }
    lines.extend_from_slice(b"}\n");
}

fn put_value(lines: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Number(number) => lines.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        // Most texts are names.
        Value::Text(text)
            if text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) =>
        {
            lines.push(b'"');
            lines.extend_from_slice(text.as_bytes());
            lines.push(b'"');
        }
        Value::Text(text) => {
            // Writing into memory cannot fail.
            let _ = serde_json::to_writer(lines, text);
        }
    }
}

/// The time of the last line, as it is written: the next one is mostly of the same second.
#[derive(Debug, Default)]
struct LastTime {
    ms: Option<u64>,
    text: String,
}

impl LastTime {
    fn at(&mut self, ms: u64) -> &[u8] {
        let same_second = self.ms.is_some_and(|last| last / 1_000 == ms / 1_000);
        let dot = self.text.len().checked_sub(4).filter(|_| same_second);
        match dot.and_then(|dot| self.text.get(..dot)) {
            Some(_) if self.ms == Some(ms) => {}
            Some(second) => {
                let second = second.len();
                self.text.truncate(second);
                for divisor in [100, 10, 1] {
                    let digit = u8::try_from(ms / divisor % 10).unwrap_or(0);
                    self.text.push(char::from(b'0' + digit));
                }
                self.text.push('Z');
            }
            None => self.text = Time(ms).to_string(),
        }
        self.ms = Some(ms);
        self.text.as_bytes()
    }
}

/// RFC 3339, in UTC, to the millisecond.
struct Time(u64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = i64::try_from(self.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match at {
            Some(at) => write!(f, "{at:.3}"),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    async fn written(style: Style) -> String {
        let log = RequestLog::new(style);
        let id = RequestId::from_bytes([7; 16]);
        log.refused(1_795_515_371_128, id, "chat_completions", 404, "model_not_found");
        log.refused(1_795_515_371_129, id, "a \"b\"\n", 401, "invalid_api_key");
        let (stop, mut out) = (CancellationToken::new(), Vec::new());
        stop.cancel();
        log.run(&mut out, stop).await;
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn each_line_is_one_line_whatever_is_in_it() {
        insta::assert_snapshot!(written(Style::Text).await, @r#"
2026-11-24T10:16:11.128Z  INFO farebox::request: request_id="req_07070707070707070707070707070707" route="chat_completions" outcome="refused" status=404 code="model_not_found"
2026-11-24T10:16:11.129Z  INFO farebox::request: request_id="req_07070707070707070707070707070707" route="a \"b\"\n" outcome="refused" status=401 code="invalid_api_key"
"#);
        let json = written(Style::Json).await;
        assert!(
            json.lines()
                .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        );
        insta::assert_snapshot!(json, @r#"
{"timestamp":"2026-11-24T10:16:11.128Z","level":"INFO","target":"farebox::request","request_id":"req_07070707070707070707070707070707","route":"chat_completions","outcome":"refused","status":404,"code":"model_not_found"}
{"timestamp":"2026-11-24T10:16:11.129Z","level":"INFO","target":"farebox::request","request_id":"req_07070707070707070707070707070707","route":"a \"b\"\n","outcome":"refused","status":401,"code":"invalid_api_key"}
"#);
        assert_eq!(written(Style::Off).await, "");
    }

    #[test]
    fn a_time_is_the_same_whatever_was_written_before() {
        let mut last = LastTime::default();
        for ms in [
            0,
            999,
            1_000,
            1_795_515_371_128,
            1_795_515_371_128,
            1_795_515_371_009,
            1_795_515_371_999,
            1_795_515_372_000,
            5,
            u64::MAX,
            u64::MAX - 1,
            7,
        ] {
            assert_eq!(String::from_utf8_lossy(last.at(ms)), Time(ms).to_string());
        }
    }

    #[test]
    fn a_log_that_is_not_read_is_bounded() {
        let log = RequestLog::new(Style::Json);
        for _ in 0..100_000 {
            log.refused(
                0,
                RequestId::from_bytes([7; 16]),
                "chat_completions",
                404,
                "model_not_found",
            );
        }
        let waiting = log.waiting.lock();
        assert!(waiting.lines.len() < BUFFER_LIMIT_BYTES + 1024);
        assert!(waiting.left_out > 0);
    }
}
