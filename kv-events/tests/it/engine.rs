//! An engine that publishes as vLLM's `ZmqEventPublisher` does, on the sockets of another implementation.

use crate::pack::{V, batch, ints, pack, stored_map};
use farebox_kv_events::{Counters, Endpoint, Feed, Source, follow};
use farebox_routing::{CacheView, PrefixIndex, Prompt, namespace};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zeromq::{PubSocket, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

pub const BLOCK: usize = 4;

/// Until it holds: a condition that never does fails the test.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let reached = timeout(Duration::from_secs(20), async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(reached.await.is_ok(), "never: {what}");
}

/// The tokens of a conversation's first blocks.
pub fn tokens(conversation: u32, blocks: usize) -> Vec<u32> {
    (0..u32::try_from(blocks * BLOCK).unwrap())
        .map(|place| conversation * 1_000 + place)
        .collect()
}

/// The engine's name of a block, which says nothing of its content.
pub fn name(conversation: u32, block: usize) -> V {
    V::B(format!("{conversation:>16}{block:>16}").into_bytes())
}

/// Blocks `from..to` of a conversation are stored.
pub fn store(conversation: u32, from: usize, to: usize) -> V {
    let parent = if from == 0 {
        V::Nil
    } else {
        name(conversation, from - 1)
    };
    let hashes = (from..to).map(|block| name(conversation, block)).collect();
    let tokens = tokens(conversation, to).split_off(from * BLOCK);
    stored_map(hashes, parent, ints(tokens), BLOCK as u64, vec![])
}

pub fn remove(conversation: u32, block: usize) -> V {
    V::M(vec![
        ("type", V::S("BlockRemoved")),
        ("block_hashes", V::A(vec![name(conversation, block)])),
        ("medium", V::S("GPU")),
    ])
}

type Sent = Arc<Mutex<VecDeque<(u64, Vec<u8>)>>>;

/// One rank of an engine.
pub struct Engine {
    publisher: PubSocket,
    pub rank: u32,
    pub sequence: u64,
    /// What a replay can still send.
    pub sent: Sent,
}

impl Engine {
    pub async fn binds() -> (Self, Endpoint) {
        let mut engine = Self::new(0);
        let endpoint = engine.publisher.bind("tcp://127.0.0.1:0").await.unwrap();
        (engine, endpoint.to_string().parse().unwrap())
    }

    pub async fn connects(to: &str, rank: u32) -> Self {
        let mut engine = Self::new(rank);
        engine.publisher.connect(to).await.unwrap();
        engine
    }

    fn new(rank: u32) -> Self {
        Self {
            publisher: PubSocket::new(),
            rank,
            sequence: 0,
            sent: Sent::default(),
        }
    }

    /// Publishes; a lost one is only there to be replayed.
    pub async fn says(&mut self, events: Vec<V>) {
        let (sequence, payload) = self.loses(events);
        self.sends(sequence, &payload).await;
    }

    pub fn loses(&mut self, events: Vec<V>) -> (u64, Vec<u8>) {
        let payload = pack(&batch(events, V::U(self.rank.into())));
        let sequence = self.sequence;
        self.sequence += 1;
        self.sent.lock().unwrap().push_back((sequence, payload.clone()));
        (sequence, payload)
    }

    pub async fn sends(&mut self, sequence: u64, payload: &[u8]) {
        self.sends_frames(&[b"kv@engine", &sequence.to_be_bytes(), payload])
            .await;
    }

    pub async fn sends_frames(&mut self, frames: &[&[u8]]) {
        self.publisher.send(message(frames)).await.unwrap();
    }

    /// Says nothing until somebody hears it, as PUB drops what nobody subscribes to.
    pub async fn is_heard(&mut self, counters: &Counters) {
        let before = counters.undecodable.load(Relaxed);
        let heard = timeout(Duration::from_secs(20), async {
            while counters.undecodable.load(Relaxed) == before {
                self.sends_frames(&[b"kv@engine", b"anybody?"]).await;
                sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(heard.await.is_ok(), "nobody hears the engine");
    }

    /// A ROUTER socket that answers replays.
    pub async fn replays(&self) -> Endpoint {
        let mut router = RouterSocket::new();
        let endpoint = router.bind("tcp://127.0.0.1:0").await.unwrap();
        let sent = Arc::clone(&self.sent);
        tokio::spawn(async move {
            while let Ok(asked) = router.recv().await {
                let [identity, empty, from] = <[_; 3]>::try_from(asked.into_vec()).unwrap();
                assert!(empty.is_empty());
                let from = u64::from_be_bytes(from.as_ref().try_into().unwrap());
                let sent: Vec<_> = sent.lock().unwrap().iter().cloned().collect();
                for (sequence, payload) in sent.into_iter().filter(|(sequence, _)| *sequence >= from) {
                    let frames: [&[u8]; 4] = [&identity, b"", &sequence.to_be_bytes(), &payload];
                    router.send(message(&frames)).await.unwrap();
                }
                let end: [&[u8]; 4] = [&identity, b"", &u64::MAX.to_be_bytes(), b""];
                router.send(message(&end)).await.unwrap();
            }
        });
        endpoint.to_string().parse().unwrap()
    }
}

fn message(frames: &[&[u8]]) -> ZmqMessage {
    let frames: Vec<bytes::Bytes> = frames.iter().map(|frame| frame.to_vec().into()).collect();
    ZmqMessage::try_from(frames).unwrap()
}

/// A follower of one engine, and what it makes of it.
pub struct Gateway {
    pub index: Arc<PrefixIndex>,
    pub view: Arc<CacheView>,
    pub counters: Arc<Counters>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Gateway {
    pub fn follows(feeds: Vec<Feed>, replay: Option<Endpoint>) -> Self {
        let index = PrefixIndex::new();
        let view = Arc::new(index.follow("engine").unwrap());
        let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
        let source = Source {
            feeds,
            replay,
            topic: "kv@".to_owned(),
        };
        // Whoever followed it before has left something.
        let before = Prompt::of_tokens(namespace(None, None), &tokens(1, 9), BLOCK);
        view.stored(before.blocks(), None).unwrap();
        let views = vec![Arc::clone(&view)];
        let followed = follow(source, views, Arc::clone(&counters), stop.clone());
        Self {
            index,
            view,
            counters,
            stop,
            task: tokio::spawn(followed),
        }
    }

    /// How many leading blocks of a conversation the engine is known to hold.
    pub fn held(&self, conversation: u32) -> usize {
        self.held_by(conversation, None, None)
    }

    pub fn held_by(&self, conversation: u32, lora: Option<&str>, salt: Option<&str>) -> usize {
        let prompt = Prompt::of_tokens(namespace(lora, salt), &tokens(conversation, 9), BLOCK);
        self.index.held(&prompt).by(&self.view)
    }

    pub async fn holds(&self, conversation: u32, blocks: usize) {
        until(&format!("{blocks} blocks of {conversation}"), || {
            self.held(conversation) == blocks
        })
        .await;
    }

    pub fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Relaxed)
    }

    pub async fn stops(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(20), self.task)
            .await
            .expect("it ends")
            .unwrap();
    }
}
