//! One engine's events in order: gaps are filled by replay, or what is known is forgotten.

use crate::cache::Cache;
use crate::counters::{Counters, add};
use crate::decode::{Batch, decode};
use crate::feed::{Endpoint, Feed, Heard};
use crate::zmtp::{Message, SocketType};
use farebox_routing::CacheView;
use futures_util::future::join_all;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

/// What a replay may take: meanwhile, the publisher keeps what is new.
const REPLAY: Duration = Duration::from_secs(5);
/// Messages that wait to be applied, in all.
const WAITING: usize = 16;
/// Ranks of one engine.
const MOST_RANKS: usize = 256;

/// Where one engine's events come from.
#[derive(Debug)]
pub struct Source {
    /// One for each data-parallel rank.
    pub feeds: Vec<Feed>,
    /// Where rank 0 is asked for what was missed: the engine's `replay_endpoint`. Without one, each gap is a reset, and
    /// what was stored before the gateway started is never known.
    pub replay: Option<Endpoint>,
    /// What the topics of its messages begin with; empty is every topic.
    pub topic: String,
}

/// Keeps `views` as this engine's events tell, until `stop`: one in the index of each model that the engine serves. What they
/// knew before is forgotten. To be spawned by the caller.
pub async fn follow<V: Borrow<CacheView>>(
    source: Source,
    views: Vec<V>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let (to, mut messages) = mpsc::channel(WAITING);
    let several = source.feeds.len() > 1;
    let hearing = Arc::clone(&counters.hearing);
    hearing.lost();
    hearing.learn_block_size(None);
    let feeds = source
        .feeds
        .into_iter()
        .map(|feed| feed.run(&source.topic, to.clone()));
    let mut follower = Follower {
        cache: Cache::new(views, Arc::clone(&counters)),
        counters,
        publishers: HashMap::new(),
        replay: source.replay,
        several,
    };
    let apply = async {
        while let Some(heard) = messages.recv().await {
            match heard {
                Heard::Message(message) => follower.hear(&message).await,
                Heard::Lost => follower.counters.hearing.lost(),
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = join_all(feeds) => {}
        () = apply => {}
    }
    hearing.lost();
}

/// How far a rank's publisher was followed.
#[derive(Debug, Clone, Copy)]
struct Publisher {
    next: u64,
    /// A hash of the last payload: another publisher's at the same place is another.
    last: u64,
}

struct Follower<V> {
    cache: Cache<V>,
    counters: Arc<Counters>,
    publishers: HashMap<u32, Publisher>,
    replay: Option<Endpoint>,
    /// Whether the replay endpoint is rank 0's, or the only one's.
    several: bool,
}

/// A batch in its place.
struct Numbered {
    sequence: u64,
    batch: Batch,
    hash: u64,
}

impl Numbered {
    /// The last two frames: a topic or an empty frame is before them.
    fn of(message: &Message) -> Option<Self> {
        let [.., sequence, payload] = message.as_slice() else {
            return None;
        };
        let sequence = sequence_of(sequence)?;
        // The end of a replay is -1, which is no place.
        i64::try_from(sequence).ok()?;
        Some(Self {
            sequence,
            batch: decode(payload)?,
            hash: xxh3_64(payload),
        })
    }
}

fn sequence_of(frame: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(frame.try_into().ok()?))
}

impl<V: Borrow<CacheView>> Follower<V> {
    async fn hear(&mut self, message: &Message) {
        let Some(heard) = Numbered::of(message) else {
            return add(&self.counters.undecodable, 1);
        };
        let rank = heard.batch.rank;
        if self.publishers.len() >= MOST_RANKS && !self.publishers.contains_key(&rank) {
            return add(&self.counters.undecodable, 1);
        }
        if self.next(rank).is_some_and(|next| heard.sequence < next) {
            self.reset(rank); // The engine has restarted.
        }
        let next = self.next(rank);
        if next.unwrap_or(0) < heard.sequence {
            add(&self.counters.gaps, usize::from(next.is_some()));
            // Whatever came of it shows in how far it went.
            let _ = timeout(REPLAY, self.replay(rank, heard.sequence)).await;
        }
        if self.next(rank).is_some_and(|next| next != heard.sequence) {
            self.reset(rank);
        }
        self.apply(&heard);
        self.counters.hearing.heard();
    }

    /// Applies what was missed before `until`: from the last that was applied, so that it shows whether it is still the same
    /// publisher's. What is after it comes again by itself.
    async fn replay(&mut self, rank: u32, until: u64) -> io::Result<()> {
        let endpoint = match &self.replay {
            Some(endpoint) if self.several => endpoint.of_rank(rank),
            endpoint => endpoint.clone(),
        };
        let Some(endpoint) = endpoint else {
            return Ok(());
        };
        add(&self.counters.replays, 1);
        let mut last = self.publishers.get(&rank).copied();
        let from = last.map_or(0, |last| last.next.saturating_sub(1));
        let mut connection = endpoint.connect(SocketType::Dealer).await?;
        connection.send(&[b"", &from.to_be_bytes()]).await?;
        loop {
            let message = connection.recv().await?;
            let sequence = message.iter().rev().nth(1).and_then(|frame| sequence_of(frame));
            if sequence.is_some_and(|sequence| sequence >= until) {
                return Ok(()); // Also at the end, which is -1.
            }
            let Some(heard) = Numbered::of(&message).filter(|heard| heard.batch.rank == rank) else {
                add(&self.counters.undecodable, 1);
                continue;
            };
            match last.take() {
                Some(last) if heard.sequence + 1 == last.next && heard.hash == last.last => continue,
                Some(_) => self.reset(rank),
                None if self.next(rank).is_some_and(|next| next != heard.sequence) => self.reset(rank),
                None => {}
            }
            self.apply(&heard);
        }
    }

    fn next(&self, rank: u32) -> Option<u64> {
        self.publishers.get(&rank).map(|publisher| publisher.next)
    }

    fn apply(&mut self, heard: &Numbered) {
        self.cache.apply(&heard.batch);
        let publisher = Publisher {
            next: heard.sequence + 1,
            last: heard.hash,
        };
        self.publishers.insert(heard.batch.rank, publisher);
    }

    fn reset(&mut self, rank: u32) {
        add(&self.counters.resets, 1);
        self.cache.forget(rank);
        self.publishers.remove(&rank);
    }
}
