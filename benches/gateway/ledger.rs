//! What farebox's own metrics say of its ledger.

use crate::Outcome;
use crate::metric::Metric;
use bytes::BytesMut;
use farebox_bench_support::farebox::ADMIN_TOKEN;
use farebox_bench_support::wire::{BodyReader, parse_response, read_head};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Since it began.
pub struct LedgerReading {
    at: Instant,
    commits: f64,
    entries: f64,
}

impl LedgerReading {
    /// Of the farebox whose admin listener is at `admin`, now.
    pub async fn of(admin: SocketAddr) -> Outcome<Self> {
        let metrics = metrics(admin).await?;
        let counter = |name: &str| -> Outcome<f64> {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            Ok(line
                .ok_or_else(|| format!("no {name} in farebox's metrics"))?
                .trim()
                .parse()?)
        };
        Ok(Self {
            at: Instant::now(),
            commits: counter("farebox_ledger_commit_seconds_count ")?,
            entries: counter("farebox_ledger_commit_entries_sum ")?,
        })
    }

    /// Commits and the entries in them, a second.
    pub fn rates_since(&self, earlier: &Self) -> [(Metric, f64); 2] {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        [
            (Metric::Commits, (self.commits - earlier.commits) / seconds),
            (Metric::Settlements, (self.entries - earlier.entries) / seconds),
        ]
    }
}

async fn metrics(admin: SocketAddr) -> Outcome<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = BytesMut::new();
    let head = read_head(&mut stream, &mut buffer, parse_response)
        .await?
        .ok_or("no answer")?;
    let (mut reader, mut body) = (BodyReader::new(head.framing), Vec::new());
    loop {
        let used = reader.feed(&buffer, |piece| body.extend_from_slice(piece))?;
        let _body_bytes = buffer.split_to(used);
        if reader.ended() {
            break;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err("the metrics broke off".into());
        }
    }
    if head.status == 200 {
        Ok(String::from_utf8(body)?)
    } else {
        Err(format!("farebox's metrics: status {}", head.status).into())
    }
}
