//! A connection to the server, and the scripts that do the counting there.

use super::{Ask, InFlightOf, Levels, Place, RateChange};
use farebox_domain::ids::AccountId;
use farebox_domain::refusal::RateUnit;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Value};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long the server may take for a round of calls. A request waits for no longer than two of them.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// How long it may take to connect, and to take the scripts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The greatest rate that the scripts' numbers hold: beyond it, a rate is this replica's alone.
pub(super) const GREATEST_RATE: u64 = 10_000_000_000;

macro_rules! script {
    ($name:literal) => {
        concat!(include_str!("prelude.lua"), include_str!($name))
    };
}

const SCRIPTS: [&str; 6] = [
    script!("acquire.lua"),
    script!("return.lua"),
    script!("beat.lua"),
    script!("register.lua"),
    script!("leave.lua"),
    script!("read.lua"),
];

/// Which of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Script {
    Acquire,
    Return,
    Beat,
    Register,
    Leave,
    Read,
}

/// Where the server is: `redis://USER:PASSWORD@HOST:PORT/DB`, or a socket's `unix:///PATH`. Shown without its password.
#[derive(Clone)]
pub struct ValkeyUrl {
    client: Client,
}

impl FromStr for ValkeyUrl {
    type Err = ValkeyFault;

    fn from_str(text: &str) -> Result<Self, ValkeyFault> {
        if text.starts_with("rediss:") || text.starts_with("valkeys:") {
            return Err(ValkeyFault::Tls);
        }
        // The parser's fault may name a piece of a password.
        let client = Client::open(text).map_err(|_| ValkeyFault::Url)?;
        Ok(Self { client })
    }
}

impl fmt::Display for ValkeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.client.get_connection_info();
        write!(f, "{}/{}", of.addr(), of.redis_settings().db())
    }
}

impl fmt::Debug for ValkeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was wrong with the server, or with where it was said to be.
#[derive(Debug, thiserror::Error)]
pub enum ValkeyFault {
    /// No URL of one.
    #[error("it is no redis://USER:PASSWORD@HOST:PORT/DB, nor unix:///PATH")]
    Url,
    /// TLS is not built in.
    #[error(
        "farebox does not speak TLS with Valkey: write redis://, over a network that is trusted or a tunnel"
    )]
    Tls,
    /// The server, or the way to it.
    #[error(transparent)]
    Server(#[from] redis::RedisError),
    /// An answer that is none.
    #[error("Valkey's answer is not what the script gives: {0}")]
    Unreadable(#[from] redis::ParsingError),
    /// No answer in time.
    #[error("Valkey did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The session was over before its replica knew: it was silent for too long.
    #[error("Valkey has ended this replica's session")]
    SessionOver,
}

/// A connection that has the scripts.
pub(super) struct Link {
    connection: MultiplexedConnection,
    hashes: Vec<String>,
}

impl Link {
    pub(super) async fn open(url: &ValkeyUrl) -> Result<Self, ValkeyFault> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        let opened = async {
            let mut connection = url
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let mut hashes = Vec::new();
            for script in SCRIPTS {
                let mut load = redis::cmd("SCRIPT");
                load.arg("LOAD").arg(script);
                hashes.push(load.query_async::<String>(&mut connection).await?);
            }
            Ok(Self { connection, hashes })
        };
        let late = |_| ValkeyFault::Late(CONNECT_TIMEOUT);
        tokio::time::timeout(CONNECT_TIMEOUT, opened)
            .await
            .map_err(late)?
    }

    /// The call of a script.
    pub(super) fn call_of(&self, script: Script) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.hashes[script as usize].as_str()).arg(0);
        call
    }

    /// Runs all of these, in order, in one round trip. A fault of one is one of all.
    pub(super) async fn run(&mut self, calls: Vec<Cmd>) -> Result<Vec<Value>, ValkeyFault> {
        let mut pipeline = redis::pipe();
        for call in calls {
            pipeline.add_command(call);
        }
        let answers = pipeline.query_async(&mut self.connection);
        let late = |_| ValkeyFault::Late(ANSWER_TIMEOUT);
        Ok(tokio::time::timeout(ANSWER_TIMEOUT, answers)
            .await
            .map_err(late)??)
    }
}

/// How a server answers a request for a place.
pub(super) enum Answer {
    SessionOver,
    Granted {
        counts: [Option<u32>; 3],
        levels: Vec<Levels>,
    },
    Full {
        which: usize,
        in_flight: u32,
        limit: u32,
    },
    Rate {
        which: usize,
        unit: RateUnit,
        used: u64,
        wait: Duration,
    },
}

impl Answer {
    pub(super) fn read(answer: Value) -> Result<Self, ValkeyFault> {
        let numbers = Vec::<i64>::from_redis_value(answer)?;
        let small = |number: i64| u32::try_from(number).unwrap_or(0);
        let index = |number: i64| usize::try_from(number - 1).unwrap_or(0);
        match *numbers.as_slice() {
            [0] => Ok(Self::SessionOver),
            [1, account, model, key, ref levels @ ..] => Ok(Self::Granted {
                counts: [account, model, key].map(|count| u32::try_from(count).ok()),
                levels: levels
                    .chunks_exact(2)
                    .map(|pair| [pair[0], pair[1]].map(|level| u64::try_from(level).ok()))
                    .collect(),
            }),
            [2, which, in_flight, limit] => Ok(Self::Full {
                which: index(which),
                in_flight: small(in_flight),
                limit: small(limit),
            }),
            [3, which, unit, used, wait_ms] => Ok(Self::Rate {
                which: index(which),
                unit: if unit == 1 {
                    RateUnit::Requests
                } else {
                    RateUnit::Tokens
                },
                used: u64::try_from(used).unwrap_or(0),
                wait: Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)),
            }),
            _ => Err(unreadable()),
        }
    }
}

/// What a sign of life, or a registration, is answered with.
pub(super) struct Standing {
    /// The data set, where it is said.
    pub(super) born: Option<String>,
    /// How long until all replicas have come back.
    pub(super) settles_in: Duration,
    /// The living sessions, in order.
    pub(super) sessions: Vec<String>,
}

impl Standing {
    pub(super) fn read(answer: Value) -> Result<Self, ValkeyFault> {
        let parts = Vec::<Value>::from_redis_value(answer)?;
        let Ok([first, settles_in, sessions]) = <[Value; 3]>::try_from(parts) else {
            return Err(ValkeyFault::SessionOver);
        };
        let born = match first {
            Value::Int(_) => None,
            text => Some(String::from_redis_value(text)?),
        };
        Ok(Self {
            born,
            settles_in: Duration::from_millis(u64::from_redis_value(settles_in)?),
            sessions: Vec::from_redis_value(sessions)?,
        })
    }
}

pub(super) fn read_in_flight(answer: Value) -> Result<Vec<InFlightOf>, ValkeyFault> {
    let all = Vec::<Vec<Value>>::from_redis_value(answer)?;
    all.into_iter()
        .map(|of_account| {
            let mut parts = of_account.into_iter();
            let first = parts.next().ok_or_else(unreadable)?;
            let mut of = InFlightOf {
                all: u32::from_redis_value(first)?,
                ..InFlightOf::default()
            };
            while let (Some(model), Some(count)) = (parts.next(), parts.next()) {
                let model = String::from_redis_value(model)?;
                of.models.insert(model.into(), u32::from_redis_value(count)?);
            }
            Ok(of)
        })
        .collect()
}

fn unreadable() -> ValkeyFault {
    redis::RedisError::from((ErrorKind::UnexpectedReturnType, "a number or a list is missing")).into()
}

/// A limit as scripts take it.
fn number(limit: Option<u64>) -> i64 {
    let counted = limit.filter(|&limit| limit <= GREATEST_RATE);
    counted.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1)
}

pub(super) fn put_ask(call: &mut Cmd, session: &str, ask: &Ask, shares: [Option<u32>; 3]) {
    let place = &ask.place;
    call.arg(session)
        .arg(place.account.as_str())
        .arg(place.model.as_str())
        .arg(place.key.as_str());
    for limit in ask.limits.into_iter().chain(shares) {
        call.arg(number(limit.map(u64::from)));
    }
    call.arg(ask.tokens.min(GREATEST_RATE));
    for rate in &ask.rates {
        call.arg(&*rate.bucket)
            .arg(number(rate.limits.requests))
            .arg(number(rate.limits.tokens));
    }
}

pub(super) fn put_place(call: &mut Cmd, place: &Place, count: u32) {
    call.arg(place.account.as_str())
        .arg(place.model.as_str())
        .arg(place.key.as_str())
        .arg(count);
}

pub(super) fn put_change(call: &mut Cmd, change: &RateChange) {
    let most = i64::try_from(GREATEST_RATE).unwrap_or(i64::MAX);
    call.arg(&*change.bucket)
        .arg(unit_name(change.unit))
        .arg(change.limit)
        .arg(change.more.clamp(-most, most));
}

pub(super) fn put_levels(call: &mut Cmd, bucket: &str, unit: RateUnit, limit: u64, levels: [u64; 2]) {
    call.arg(bucket)
        .arg(unit_name(unit))
        .arg(limit)
        .arg(levels[0])
        .arg(levels[1]);
}

pub(super) fn put_accounts(call: &mut Cmd, accounts: &[AccountId]) {
    for account in accounts {
        call.arg(account.as_str());
    }
}

const fn unit_name(unit: RateUnit) -> &'static str {
    match unit {
        RateUnit::Requests => "requests",
        RateUnit::Tokens => "tokens",
    }
}
