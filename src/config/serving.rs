//! `server`, `timeouts`, `queue` and `retries`: how long farebox waits for whom, and how often it tries.

use super::fault::Collector;
use super::reader::{Fields, Item};
use farebox_domain::attempt::RetryBudget;
use farebox_domain::key::parse_net;
use ipnet::IpNet;
use std::ops::RangeInclusive;
use std::time::Duration;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// No wait is shorter, none is longer.
pub(super) const WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=seconds(24 * 3600);
/// The same where not to wait at all means something.
const WAIT_OR_NONE: RangeInclusive<Duration> = Duration::ZERO..=seconds(24 * 3600);
/// A body is read whole, so its limit is memory.
const BODY_LIMIT_BYTES: RangeInclusive<u32> = 1024..=1 << 30;
const PROXIES_AT_MOST: usize = 100;
/// What waits holds a body in memory.
const QUEUE_SIZE: RangeInclusive<u32> = 0..=100_000;
const ATTEMPTS: RangeInclusive<u32> = 1..=100;
/// Of tries again to requests; a thousand is ten for each.
const RETRY_PERCENT: RangeInclusive<u32> = 0..=1000;
const RETRIES_PER_SECOND: RangeInclusive<u32> = 0..=1_000_000;

/// How long an engine has, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To accept a connection. Five seconds.
    pub connect: Duration,
    /// From the request to the first event; headers count as nothing. A minute.
    pub first_event: Duration,
    /// From the request to the last byte of an answer in one piece, which has no event before its end. Ten
    /// minutes, as long as OpenAI's SDKs wait.
    pub whole_answer: Duration,
    /// From one event to the next. A minute.
    pub between_tokens: Duration,
    /// From the request to the last byte. An hour.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: seconds(5),
            first_event: seconds(60),
            whole_answer: seconds(600),
            between_tokens: seconds(60),
            total: seconds(3600),
        }
    }
}

/// How long a client has, at most, and how much it may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSettings {
    /// The longest request body, after it is unpacked. 32 MiB.
    pub body_limit_bytes: usize,
    /// To send a request's head, counted from the connection's start or from the last answer: so it is also how long
    /// a kept connection may be idle. 75 seconds: longer than load balancers in front wait, so that it is not
    /// farebox who closes while they send.
    pub header_timeout: Duration,
    /// To send a request's body whole. A minute.
    pub body_timeout: Duration,
    /// To take what is written, before it is cut off as one that does not read. A minute.
    pub write_timeout: Duration,
    /// What runs when a shutdown begins has this long to end. Five minutes.
    pub drain_deadline: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            body_limit_bytes: 32 << 20,
            header_timeout: seconds(75),
            body_timeout: seconds(60),
            write_timeout: seconds(60),
            drain_deadline: seconds(300),
        }
    }
}

/// How long a request waits for a place where every engine of its model is full, and how many may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// Requests that may wait for one model; 0: none waits. A thousand.
    pub size: u32,
    /// How long one of the priority tier waits. Half a minute.
    pub priority: Duration,
    /// The same of the default tier. Half a minute.
    pub default: Duration,
    /// The same of the flex tier, which is cheaper as it has time. Ten minutes, as long as OpenAI's SDKs wait.
    pub flex: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            size: 1000,
            priority: seconds(30),
            default: seconds(30),
            flex: seconds(600),
        }
    }
}

/// Reads `queue`; what is not there is as by default.
pub(super) fn queue(document: &Fields<'_>, faults: &mut Collector) -> QueueSettings {
    const KEYS: [&str; 4] = ["size", "priority", "default", "flex"];
    let mut queue = QueueSettings::default();
    if let Some(fields) = section(document, "queue", &KEYS, faults) {
        let size = fields
            .optional("size")
            .and_then(|item| item.integer_u32(QUEUE_SIZE, faults));
        set(&mut queue.size, size);
        set_duration(&fields, "priority", WAIT, &mut queue.priority, faults);
        set_duration(&fields, "default", WAIT, &mut queue.default, faults);
        set_duration(&fields, "flex", WAIT, &mut queue.flex, faults);
    }
    queue
}

/// Reads `timeouts`; what is not there is as by default.
pub(super) fn timeouts(document: &Fields<'_>, faults: &mut Collector) -> Timeouts {
    const KEYS: [&str; 5] = [
        "connect",
        "first_event",
        "whole_answer",
        "between_tokens",
        "total",
    ];
    let mut timeouts = Timeouts::default();
    if let Some(fields) = section(document, "timeouts", &KEYS, faults) {
        set_duration(&fields, "connect", WAIT, &mut timeouts.connect, faults);
        set_duration(&fields, "first_event", WAIT, &mut timeouts.first_event, faults);
        set_duration(
            &fields,
            "between_tokens",
            WAIT,
            &mut timeouts.between_tokens,
            faults,
        );
        set_duration(&fields, "whole_answer", WAIT, &mut timeouts.whole_answer, faults);
        set_duration(&fields, "total", WAIT, &mut timeouts.total, faults);
    }
    timeouts
}

/// Reads `server`; what is not there is as by default.
pub(super) fn server(document: &Fields<'_>, faults: &mut Collector) -> (ServerSettings, Vec<IpNet>) {
    const KEYS: [&str; 6] = [
        "body_limit_bytes",
        "header_timeout",
        "body_timeout",
        "write_timeout",
        "drain_deadline",
        "trusted_proxies",
    ];
    let mut server = ServerSettings::default();
    let mut trusted = Vec::new();
    if let Some(fields) = section(document, "server", &KEYS, faults) {
        let limit = fields
            .optional("body_limit_bytes")
            .and_then(|item| item.integer_u32(BODY_LIMIT_BYTES, faults))
            .and_then(|bytes| usize::try_from(bytes).ok());
        set(&mut server.body_limit_bytes, limit);
        set_duration(
            &fields,
            "header_timeout",
            WAIT,
            &mut server.header_timeout,
            faults,
        );
        set_duration(&fields, "body_timeout", WAIT, &mut server.body_timeout, faults);
        set_duration(&fields, "write_timeout", WAIT, &mut server.write_timeout, faults);
        set_duration(
            &fields,
            "drain_deadline",
            WAIT_OR_NONE,
            &mut server.drain_deadline,
            faults,
        );
        let proxies = fields
            .optional("trusted_proxies")
            .and_then(|item| item.list(PROXIES_AT_MOST, faults));
        for proxy in proxies.into_iter().flatten() {
            trusted.extend(read_proxy(&proxy, faults));
        }
    }
    (server, trusted)
}

fn read_proxy(proxy: &Item<'_>, faults: &mut Collector) -> Option<IpNet> {
    let net = parse_net(proxy.text(faults)?);
    if net.is_none() {
        proxy.refuse("this is no address and no network such as `10.0.0.0/8`", faults);
    }
    net
}

/// Reads `retries`; what is not there is as by default.
pub(super) fn retries(document: &Fields<'_>, faults: &mut Collector) -> RetryBudget {
    const KEYS: [&str; 5] = [
        "attempts",
        "time",
        "backoff",
        "budget_percent",
        "budget_min_per_second",
    ];
    let mut retries = RetryBudget::default();
    if let Some(fields) = section(document, "retries", &KEYS, faults) {
        let attempts = fields
            .optional("attempts")
            .and_then(|item| item.integer_u32(ATTEMPTS, faults));
        set(&mut retries.attempts, attempts);
        set_duration(&fields, "time", WAIT_OR_NONE, &mut retries.time, faults);
        set_duration(&fields, "backoff", WAIT, &mut retries.backoff, faults);
        let percent = fields
            .optional("budget_percent")
            .and_then(|item| item.integer_u32(RETRY_PERCENT, faults));
        set(&mut retries.share.percent, percent);
        let least = fields
            .optional("budget_min_per_second")
            .and_then(|item| item.integer_u32(RETRIES_PER_SECOND, faults));
        set(&mut retries.share.min_per_second, least);
    }
    retries
}

/// A mapping of the document, if it is there.
pub(super) fn section<'a>(
    document: &Fields<'a>,
    key: &str,
    keys: &[&str],
    faults: &mut Collector,
) -> Option<Fields<'a>> {
    document
        .optional(key)
        .and_then(|item: &Item<'a>| item.mapping(keys, faults))
}

/// Takes a time over, if the key is there and holds.
pub(super) fn set_duration(
    fields: &Fields<'_>,
    key: &str,
    bounds: RangeInclusive<Duration>,
    setting: &mut Duration,
    faults: &mut Collector,
) {
    let read = fields
        .optional(key)
        .and_then(|item| item.duration(bounds, faults));
    set(setting, read);
}

/// Takes a value over, if there is one.
pub(super) fn set<T>(setting: &mut T, read: Option<T>) {
    if let Some(value) = read {
        *setting = value;
    }
}
