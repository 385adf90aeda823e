//! A publisher's life, and what is known of its cache after it.

use crate::engine::{Engine, Gateway, remove, store, tokens, until};
use crate::pack::{V, batch, ints, pack, stored_map};
use farebox_kv_events::{Endpoint, Feed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A gateway that connects to an engine which is heard, with or without replay.
async fn connected(replay: bool) -> (Gateway, Engine) {
    let (mut engine, endpoint) = Engine::binds().await;
    let replay = if replay {
        Some(engine.replays().await)
    } else {
        None
    };
    let gateway = Gateway::follows(vec![Feed::Connect(endpoint)], replay);
    engine.is_heard(&gateway.counters).await;
    (gateway, engine)
}

async fn listener() -> (Feed, Endpoint) {
    let listener = "tcp://127.0.0.1:0"
        .parse::<Endpoint>()
        .unwrap()
        .bind()
        .await
        .unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    (Feed::Listen(listener), endpoint)
}

#[tokio::test]
async fn what_an_engine_stores_and_removes_is_known_whoever_connects() {
    let (gateway, engine) = connected(false).await;
    let (feed, endpoint) = listener().await;
    let listening = Gateway::follows(vec![feed], None);
    let mut connecting = Engine::connects(&endpoint.to_string(), 0).await;
    connecting.is_heard(&listening.counters).await;

    for (gateway, mut engine) in [(gateway, engine), (listening, connecting)] {
        engine.says(vec![store(1, 0, 3)]).await;
        engine.says(vec![store(1, 3, 5), store(2, 0, 2)]).await;
        gateway.holds(1, 5).await;
        gateway.holds(2, 2).await;
        assert_eq!(gateway.counters.block_size(), Some(4));
        assert_eq!(gateway.held_by(1, Some("sql"), None), 0);

        engine.says(vec![remove(1, 2)]).await;
        gateway.holds(1, 2).await;
        engine.says(vec![store(1, 2, 3)]).await;
        gateway.holds(1, 5).await;
        engine
            .says(vec![V::M(vec![("type", V::S("AllBlocksCleared"))])])
            .await;
        gateway.holds(1, 0).await;
        assert_eq!(gateway.view.blocks(), 0);

        assert_eq!(
            (
                gateway.count(|c| &c.events),
                gateway.count(|c| &c.stored),
                gateway.count(|c| &c.removed)
            ),
            (6, 8, 1)
        );
        assert_eq!((gateway.count(|c| &c.gaps), gateway.count(|c| &c.resets)), (0, 0));
        gateway.stops().await;
    }
}

#[tokio::test]
async fn an_adapters_blocks_are_its_own_and_so_are_a_salts() {
    let (gateway, mut engine) = connected(false).await;
    let of = |hash: u64, parent: V, blocks: std::ops::Range<usize>, keys: Vec<V>| {
        let tokens = tokens(1, blocks.end).split_off(blocks.start * 4);
        let keys = V::A(vec![V::A(keys)]);
        let more = vec![("lora_name", V::S("sql")), ("extra_keys", keys)];
        stored_map(vec![V::U(hash)], parent, ints(tokens), 4, more)
    };
    engine
        .says(vec![of(1, V::Nil, 0..1, vec![V::S("sql"), V::S("alice")])])
        .await;
    // The salt is the first block's to say.
    engine.says(vec![of(2, V::U(1), 1..2, vec![V::S("sql")])]).await;
    engine.says(vec![of(3, V::Nil, 0..1, vec![V::S("sql")])]).await;
    let image = V::A(vec![V::S("cat"), V::I(0)]);
    engine
        .says(vec![of(4, V::U(3), 1..2, vec![V::S("sql"), image])])
        .await;
    until("all are stored", || gateway.count(|c| &c.stored) == 4).await;
    assert_eq!(gateway.held_by(1, Some("sql"), Some("alice")), 2);
    assert_eq!(gateway.held_by(1, Some("sql"), None), 1, "the second is an image");
    assert_eq!(gateway.held(1), 0);
}

#[tokio::test]
async fn a_block_is_held_while_a_copy_of_it_is() {
    let (gateway, mut engine) = connected(false).await;
    engine
        .says(vec![store(1, 0, 2), store(1, 0, 2), remove(1, 1)])
        .await;
    until("it is removed", || gateway.count(|c| &c.removed) == 1).await;
    assert_eq!(gateway.held(1), 2);
    engine.says(vec![remove(1, 1)]).await;
    gateway.holds(1, 1).await;
}

#[tokio::test]
async fn blocks_that_cannot_be_placed_are_counted_and_passed_over() {
    let (gateway, mut engine) = connected(false).await;
    engine.says(vec![store(1, 3, 5), store(2, 0, 1)]).await;
    gateway.holds(2, 1).await;
    engine
        .says(vec![stored_map(vec![V::U(1)], V::Nil, ints([7]), 1, vec![])])
        .await;
    until("it does not fit", || gateway.count(|c| &c.misfits) == 1).await;
    assert_eq!((gateway.count(|c| &c.orphans), gateway.view.blocks()), (2, 1));
}

#[tokio::test]
async fn a_gap_is_replayed() {
    let (gateway, mut engine) = connected(true).await;
    engine.says(vec![store(1, 0, 1)]).await;
    engine.loses(vec![store(1, 1, 2)]);
    engine.loses(vec![store(1, 2, 3), store(2, 0, 1)]);
    engine.says(vec![store(1, 3, 4)]).await;
    gateway.holds(1, 4).await;
    engine.says(vec![store(1, 4, 5)]).await;
    gateway.holds(1, 5).await;
    assert_eq!(gateway.held(2), 1);
    assert_eq!(
        (
            gateway.count(|c| &c.gaps),
            gateway.count(|c| &c.replays),
            gateway.count(|c| &c.resets)
        ),
        (1, 1, 0)
    );
    assert_eq!(gateway.count(|c| &c.stored), 6, "nothing is applied twice");
}

#[tokio::test]
async fn what_was_said_before_anybody_heard_is_replayed_as_far_as_it_is_there() {
    for forgotten in [0, 1] {
        let (mut engine, endpoint) = Engine::binds().await;
        engine.loses(vec![store(1, 0, 2)]);
        engine.loses(vec![store(2, 0, 2)]);
        engine.sent.lock().unwrap().drain(..forgotten);
        let replay = engine.replays().await;
        let gateway = Gateway::follows(vec![Feed::Connect(endpoint)], Some(replay));
        engine.is_heard(&gateway.counters).await;
        engine.says(vec![store(3, 0, 2)]).await;
        gateway.holds(3, 2).await;
        assert_eq!((gateway.held(1), gateway.held(2)), (2 * (1 - forgotten), 2));
        assert_eq!((gateway.count(|c| &c.gaps), gateway.count(|c| &c.resets)), (0, 0));
    }
}

#[tokio::test]
async fn a_replay_with_a_hole_is_known_from_there_on() {
    let (gateway, mut engine) = connected(true).await;
    for conversation in 1..=4 {
        engine.loses(vec![store(conversation, 0, 2)]);
    }
    engine.sent.lock().unwrap().remove(1);
    engine.says(vec![store(5, 0, 2)]).await;
    gateway.holds(5, 2).await;
    assert_eq!((gateway.held(1), gateway.held(3), gateway.held(4)), (0, 2, 2));
    assert_eq!(gateway.count(|c| &c.resets), 1);
}

#[tokio::test]
async fn a_gap_that_cannot_be_filled_resets_the_view() {
    for replay in [false, true] {
        let (gateway, mut engine) = connected(replay).await;
        engine.says(vec![store(1, 0, 3)]).await;
        gateway.holds(1, 3).await;
        engine.loses(vec![remove(1, 0)]);
        engine.loses(vec![store(2, 0, 2)]);
        // The publisher's buffer has gone on, or there is none.
        engine.sent.lock().unwrap().drain(..2);
        engine.says(vec![store(3, 0, 1), store(1, 3, 4)]).await;
        gateway.holds(3, 1).await;
        assert_eq!(
            (gateway.held(1), gateway.held(2)),
            (0, if replay { 2 } else { 0 })
        );
        assert_eq!(
            (
                gateway.count(|c| &c.gaps),
                gateway.count(|c| &c.resets),
                gateway.count(|c| &c.orphans)
            ),
            (1, 1, 1)
        );
        assert_eq!(gateway.count(|c| &c.replays), u64::from(replay));
    }
}

#[tokio::test]
async fn an_engine_that_restarts_holds_nothing_of_before() {
    for replay in [false, true] {
        let (gateway, mut engine) = connected(replay).await;
        for conversation in 1..=3 {
            engine.says(vec![store(conversation, 0, 2)]).await;
        }
        gateway.holds(3, 2).await;
        engine.sequence = 0;
        engine.sent.lock().unwrap().clear();
        engine.loses(vec![store(4, 0, 1)]);
        engine.says(vec![store(5, 0, 1)]).await;
        gateway.holds(5, 1).await;
        assert_eq!(
            gateway.held(4),
            usize::from(replay),
            "it was said before the connection was back"
        );
        assert_eq!(gateway.view.blocks(), 1 + usize::from(replay));
        assert_eq!((gateway.count(|c| &c.resets), gateway.count(|c| &c.gaps)), (1, 0));
    }
}

#[tokio::test]
async fn a_restart_behind_a_lost_connection_shows_in_the_replay() {
    let (gateway, mut engine) = connected(true).await;
    engine.says(vec![store(1, 0, 2)]).await;
    engine.says(vec![store(2, 0, 2)]).await;
    gateway.holds(2, 2).await;
    // Another publisher has gone past the place where this one was.
    engine.sent.lock().unwrap().clear();
    engine.sequence = 0;
    for conversation in 5..8 {
        engine.loses(vec![store(conversation, 0, 2)]);
    }
    engine.says(vec![store(8, 0, 2)]).await;
    gateway.holds(8, 2).await;
    assert_eq!((gateway.held(1), gateway.held(2)), (0, 0));
    assert_eq!(
        (gateway.held(6), gateway.held(7), gateway.count(|c| &c.resets)),
        (2, 2, 1)
    );
}

#[tokio::test]
async fn what_is_known_outlasts_a_lost_connection() {
    let (feed, endpoint) = listener().await;
    let gateway = Gateway::follows(vec![feed], None);
    let mut engine = Engine::connects(&endpoint.to_string(), 0).await;
    engine.is_heard(&gateway.counters).await;
    engine.says(vec![store(1, 0, 2)]).await;
    gateway.holds(1, 2).await;
    let sequence = engine.sequence;
    assert!(gateway.counters.hearing.is_heard());
    drop(engine);
    until("it is known to be gone", || !gateway.counters.hearing.is_heard()).await;
    let mut again = Engine::connects(&endpoint.to_string(), 0).await;
    again.sequence = sequence;
    again.is_heard(&gateway.counters).await;
    assert_eq!(gateway.held(1), 2);
    assert!(
        !gateway.counters.hearing.is_heard(),
        "what it says must be in its place"
    );
    again.says(vec![store(1, 2, 3)]).await;
    gateway.holds(1, 3).await;
    until("it is heard", || gateway.counters.hearing.is_heard()).await;
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    let accepted = timeout(Duration::from_secs(20), listener.accept()).await;
    accepted.expect("somebody connects").unwrap().0
}

#[tokio::test]
async fn a_publisher_that_goes_away_is_connected_to_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let gateway = Gateway::follows(vec![Feed::Connect(endpoint)], None);
    drop(accepted(&listener).await);
    for (sequence, conversation) in [(0, 1), (1, 2)] {
        let mut stream = accepted(&listener).await;
        let mut greeting = [0; 64 + 2 + 25];
        stream.read_exact(&mut greeting).await.unwrap();
        stream.write_all(&greeting[..64]).await.unwrap();
        stream
            .write_all(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB")
            .await
            .unwrap();
        let mut subscription = [0; 6];
        stream.read_exact(&mut subscription).await.unwrap();
        assert_eq!(&subscription, b"\0\x04\x01kv@");
        let payload = pack(&batch(vec![store(conversation, 0, 1)], V::U(0)));
        stream.write_all(b"\x01\x03kv@\x01\x08").await.unwrap();
        stream.write_all(&u64::to_be_bytes(sequence)).await.unwrap();
        stream
            .write_all(&[0, u8::try_from(payload.len()).unwrap()])
            .await
            .unwrap();
        stream.write_all(&payload).await.unwrap();
        gateway.holds(conversation, 1).await;
    }
    assert_eq!((gateway.held(1), gateway.count(|c| &c.resets)), (1, 0));
}

#[tokio::test]
async fn each_rank_has_its_own_sequence_and_one_views_them_all() {
    let ((first, to_first), (second, to_second)) = (listener().await, listener().await);
    let gateway = Gateway::follows(vec![first, second], None);
    let mut ranks = Vec::new();
    for (rank, endpoint) in [(0, to_first), (1, to_second)] {
        let mut engine = Engine::connects(&endpoint.to_string(), rank).await;
        engine.is_heard(&gateway.counters).await;
        ranks.push(engine);
    }
    for engine in &mut ranks {
        engine.says(vec![store(1, 0, 2)]).await;
        engine.says(vec![store(2 + engine.rank, 0, 2)]).await;
    }
    gateway.holds(2, 2).await;
    gateway.holds(3, 2).await;
    ranks[0].says(vec![remove(1, 0), remove(1, 1)]).await;
    until("rank 0 has removed", || gateway.count(|c| &c.removed) == 2).await;
    assert_eq!(gateway.held(1), 2, "rank 1 has it");

    ranks[1].sequence = 0;
    ranks[1].says(vec![store(4, 0, 1)]).await;
    gateway.holds(4, 1).await;
    assert_eq!(
        (gateway.held(1), gateway.held(2), gateway.held(3)),
        (0, 2, 0),
        "rank 1 has restarted"
    );
}

#[tokio::test]
async fn an_engine_has_no_more_than_256_ranks() {
    let (gateway, mut engine) = connected(false).await;
    for rank in 0..=256 {
        engine.rank = rank;
        engine.says(vec![store(rank, 0, 1)]).await;
    }
    engine.rank = 0;
    engine.sequence = 1;
    engine.says(vec![store(300, 0, 1)]).await;
    gateway.holds(300, 1).await;
    assert_eq!((gateway.held(255), gateway.held(256)), (1, 0));
}

#[tokio::test]
async fn rubbish_is_counted_and_nothing_else() {
    let (feed, endpoint) = listener().await;
    let gateway = Gateway::follows(vec![feed], None);
    let address = endpoint.to_string().replace("tcp://", "");
    // Peers that never say a word.
    let mut peers = Vec::new();
    for _ in 0..4 {
        peers.push(TcpStream::connect(&address).await.unwrap());
    }
    let mut engine = Engine::connects(&endpoint.to_string(), 0).await;
    engine.is_heard(&gateway.counters).await;
    engine.says(vec![store(1, 0, 1)]).await;
    gateway.holds(1, 1).await;

    let before = gateway.count(|c| &c.undecodable);
    let number = 7_u64.to_be_bytes();
    let (_, payload) = engine.loses(vec![store(9, 0, 1)]);
    engine.sequence = 1;
    let end = u64::MAX.to_be_bytes();
    let mut long = batch(vec![], V::U(0));
    if let V::A(fields) = &mut long {
        fields.push(V::B(vec![0; 16 << 20]));
    }
    let long = pack(&long);
    let frames: [&[&[u8]]; 6] = [
        &[b"kv@"],
        &[b"kv@", b"short", &payload],
        &[b"kv@", &number, b"\xc1"],
        &[b"kv@", &number, &payload[1..]],
        &[b"kv@", &end, &payload],
        &[b"kv@", &number, &long],
    ];
    for frames in frames {
        engine.sends_frames(frames).await;
    }

    // No ZeroMQ at all, and a frame that says it is longer than any memory.
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    let huge = [
        greeting.as_slice(),
        b"\x02",
        &(1_u64 << 62).to_be_bytes(),
        b"beginning",
    ]
    .concat();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".repeat(9), huge] {
        let mut peer = TcpStream::connect(&address).await.unwrap();
        peer.write_all(&bytes).await.unwrap();
        peers.push(peer);
    }
    engine.says(vec![store(1, 1, 2)]).await;
    gateway.holds(1, 2).await;
    assert_eq!(gateway.count(|c| &c.undecodable), before + 6);
    assert_eq!((gateway.count(|c| &c.gaps), gateway.count(|c| &c.resets)), (0, 0));
    gateway.stops().await;
}

#[test]
fn an_endpoint_is_a_host_and_a_port() {
    let of = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
    for text in [
        "tcp://*:5557",
        "tcp://10.0.0.4:1",
        "tcp://engine.local:65535",
        "tcp://[::1]:80",
    ] {
        assert_eq!(of(text).as_deref(), Ok(text));
    }
    for text in [
        "",
        "5557",
        "ipc:///tmp/kv",
        "tcp://host",
        "tcp://:1",
        "tcp://host:65536",
        "tcp://host:http",
    ] {
        assert!(of(text).is_err(), "{text}");
    }
    let base: Endpoint = "tcp://host:65534".parse().unwrap();
    assert_eq!(
        base.of_rank(1).map(|endpoint| endpoint.to_string()).as_deref(),
        Some("tcp://host:65535")
    );
    assert_eq!(base.of_rank(2), None);
}
