//! What is measured, and what farebox is held to. docs/PERFORMANCE.md says how each is measured.

use crate::options::Options;

/// A figure that a round gives for a subject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Metric {
    /// CPU microseconds a request.
    RequestCpu,
    /// CPU microseconds an event, slow streams.
    PacedChunkCpu,
    /// CPU microseconds an event, streams that step together.
    SteppedChunkCpu,
    /// CPU microseconds an event, streams as fast as they go.
    BurstChunkCpu,
    /// CPU microseconds a request for embeddings.
    EmbeddingsCpu,
    /// System calls a request.
    RequestCalls,
    /// System calls an event, streams that step together.
    ChunkCalls,
    /// Microseconds from a request to its whole answer, median.
    RequestP50,
    /// Likewise, 99th percentile.
    RequestP99,
    /// `RequestP50` less the direct one.
    AddedRequestP50,
    /// `RequestP99` less the direct one.
    AddedRequestP99,
    /// Microseconds to the first event, median.
    TtftP50,
    /// Microseconds to the first event, 99th percentile.
    TtftP99,
    /// `TtftP50` less the direct one.
    AddedTtftP50,
    /// `TtftP99` less the direct one.
    AddedTtftP99,
    /// Resident memory with all streams open, MiB.
    Resident,
    /// What of it came with the streams, KiB a stream.
    StreamMemory,
    /// Requests a second.
    RequestRate,
    /// How much of its core the gateway had, percent.
    CoreBusy,
    /// Durable commits of the ledger a second.
    Commits,
    /// Entries in them a second.
    Settlements,
}

impl Metric {
    /// In the order of the tables.
    pub const ALL: [Self; 21] = [
        Self::RequestCpu,
        Self::PacedChunkCpu,
        Self::SteppedChunkCpu,
        Self::BurstChunkCpu,
        Self::EmbeddingsCpu,
        Self::RequestCalls,
        Self::ChunkCalls,
        Self::RequestP50,
        Self::RequestP99,
        Self::AddedRequestP50,
        Self::AddedRequestP99,
        Self::TtftP50,
        Self::TtftP99,
        Self::AddedTtftP50,
        Self::AddedTtftP99,
        Self::Resident,
        Self::StreamMemory,
        Self::RequestRate,
        Self::CoreBusy,
        Self::Commits,
        Self::Settlements,
    ];

    /// Those that are drawn, a panel each: what a gateway costs, as a multiple of the pass-through's.
    pub const DRAWN: [Self; 13] = [
        Self::RequestCpu,
        Self::EmbeddingsCpu,
        Self::PacedChunkCpu,
        Self::BurstChunkCpu,
        Self::SteppedChunkCpu,
        Self::ChunkCalls,
        Self::RequestCalls,
        Self::Resident,
        Self::StreamMemory,
        Self::AddedTtftP50,
        Self::AddedTtftP99,
        Self::AddedRequestP50,
        Self::AddedRequestP99,
    ];

    /// Latencies, and what each gateway adds to the direct one.
    pub const ADDED: [(Self, Self); 4] = [
        (Self::RequestP50, Self::AddedRequestP50),
        (Self::RequestP99, Self::AddedRequestP99),
        (Self::TtftP50, Self::AddedTtftP50),
        (Self::TtftP99, Self::AddedTtftP99),
    ];

    /// Its name in the JSON.
    pub fn key(self) -> &'static str {
        match self {
            Self::RequestCpu => "request_cpu_us",
            Self::PacedChunkCpu => "paced_chunk_cpu_us",
            Self::SteppedChunkCpu => "stepped_chunk_cpu_us",
            Self::BurstChunkCpu => "burst_chunk_cpu_us",
            Self::EmbeddingsCpu => "embeddings_cpu_us",
            Self::RequestCalls => "request_syscalls",
            Self::ChunkCalls => "stepped_chunk_syscalls",
            Self::RequestP50 => "request_p50_us",
            Self::RequestP99 => "request_p99_us",
            Self::AddedRequestP50 => "added_request_p50_us",
            Self::AddedRequestP99 => "added_request_p99_us",
            Self::TtftP50 => "ttft_p50_us",
            Self::TtftP99 => "ttft_p99_us",
            Self::AddedTtftP50 => "added_ttft_p50_us",
            Self::AddedTtftP99 => "added_ttft_p99_us",
            Self::Resident => "rss_mib",
            Self::StreamMemory => "open_stream_kib",
            Self::RequestRate => "requests_per_second",
            Self::CoreBusy => "request_core_busy_percent",
            Self::Commits => "ledger_commits_per_second",
            Self::Settlements => "ledger_settlements_per_second",
        }
    }

    /// Its name in tables and drawings, with the unit.
    pub fn title(self, options: &Options) -> String {
        let title = match self {
            Self::RequestCpu => "request at C=32, CPU us",
            Self::PacedChunkCpu => "paced SSE chunk, CPU us",
            Self::SteppedChunkCpu => "stepped SSE chunk, CPU us",
            Self::BurstChunkCpu => "burst SSE chunk, CPU us",
            Self::EmbeddingsCpu => "embeddings of 64 inputs, CPU us",
            Self::RequestCalls => "system calls a request",
            Self::ChunkCalls => "system calls a stepped chunk",
            Self::RequestP50 => "request p50 at C=32, us",
            Self::RequestP99 => "request p99 at C=32, us",
            Self::AddedRequestP50 => "request p50 added over direct, us",
            Self::AddedRequestP99 => "request p99 added over direct, us",
            Self::TtftP50 => "TTFT p50 at C=32, us",
            Self::TtftP99 => "TTFT p99 at C=32, us",
            Self::AddedTtftP50 => "TTFT p50 added over direct, us",
            Self::AddedTtftP99 => "TTFT p99 added over direct, us",
            Self::Resident => return format!("RSS at {} open streams, MiB", options.open_streams()),
            Self::StreamMemory => "memory an open stream, KiB",
            Self::RequestRate => "requests a second at C=32",
            Self::CoreBusy => "gateway's core while it does, %",
            Self::Commits => "ledger commits a second while it does",
            Self::Settlements => "settlements a second while it does",
        };
        title.to_owned()
    }
}

/// The most that farebox's median may be.
#[derive(Clone, Copy)]
pub enum Bound {
    /// As a multiple of the pass-through's of the same round.
    Times(f64),
    /// In the metric's own unit, which is named.
    AtMost(f64, &'static str),
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            Self::AtMost(most, unit) => write!(f, "{most} {unit}"),
        }
    }
}

/// The aims, for farebox with everything on. What tables, drawing and the last lines say of them is taken from here.
pub const AIMS: [(Metric, Bound); 8] = [
    (Metric::RequestCpu, Bound::AtMost(40.0, "us")),
    (Metric::RequestCpu, Bound::Times(1.2)),
    (Metric::BurstChunkCpu, Bound::Times(1.05)),
    (Metric::PacedChunkCpu, Bound::Times(1.1)),
    (Metric::AddedTtftP50, Bound::Times(1.2)),
    (Metric::AddedTtftP99, Bound::Times(1.2)),
    (Metric::Resident, Bound::AtMost(50.0, "MiB")),
    (Metric::EmbeddingsCpu, Bound::Times(1.2)),
];

/// Those of one metric. What is said of 1,000 open streams is not held against fewer.
pub fn aims_of(metric: Metric, options: &Options) -> impl Iterator<Item = Bound> {
    let comparable = metric != Metric::Resident || !options.quick;
    AIMS.into_iter()
        .filter(move |(of, _)| comparable && *of == metric)
        .map(|(_, bound)| bound)
}
