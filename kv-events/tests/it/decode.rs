//! Each encoding, and whatever bytes.

use crate::pack::{V, batch, ints, pack, stored_array, stored_map};
use farebox_kv_events::{Batch, Event, Stored, decode};
use proptest::prelude::*;

fn decoded(value: &V) -> Batch {
    decode(&pack(value)).expect("a batch")
}

fn stored(value: V) -> Stored {
    match decoded(&batch(vec![value], V::Nil)).events.pop() {
        Some(Event::Stored(stored)) => stored,
        other => panic!("{other:?}"),
    }
}

fn two_blocks() -> Stored {
    Stored {
        hashes: vec![u64::MAX, 5],
        parent: Some(u64::MAX - 6),
        tokens: vec![1, 2, 3, 70_000],
        block_size: 2,
        lora: None,
        salt: None,
        extra: vec![],
    }
}

#[test]
fn vllms_maps_and_arrays_and_sglangs_arrays_say_the_same() {
    let (hashes, parent) = (vec![V::I(-1), V::U(5)], V::I(-7));
    let tokens = ints([1, 2, 3, 70_000]);
    let vllm_map = stored_map(
        hashes.clone(),
        parent.clone(),
        tokens.clone(),
        2,
        vec![
            ("group_idx", V::U(0)),
            ("kv_cache_spec_kind", V::S("full_attention")),
            ("from_the_future", V::A(vec![V::M(vec![])])),
        ],
    );
    let array = |more| stored_array(hashes.clone(), parent.clone(), tokens.clone(), 2, more);
    let vllm_0_9 = array(vec![V::Nil]);
    let vllm_0_11 = array(vec![V::Nil, V::S("GPU"), V::Nil]);
    let vllm_last = array(vec![
        V::Nil,
        V::S("GPU"),
        V::Nil,
        V::Nil,
        V::U(0),
        V::S("full_attention"),
        V::Nil,
        V::Nil,
    ]);
    let sglang = array(vec![V::Nil, V::S("GPU")]);
    for event in [vllm_map, vllm_0_9, vllm_0_11, vllm_last, sglang] {
        assert_eq!(stored(event), two_blocks());
    }
}

#[test]
fn a_batch_has_a_rank_and_only_what_is_held_on_a_gpu() {
    let off_gpu = stored_map(
        vec![V::U(1)],
        V::Nil,
        V::A(vec![]),
        2,
        vec![("medium", V::S("CPU"))],
    );
    let window = stored_map(
        vec![V::U(1)],
        V::Nil,
        ints([1, 2]),
        2,
        vec![("kv_cache_spec_kind", V::S("sliding_window"))],
    );
    let removed = |medium| V::A(vec![V::S("BlockRemoved"), V::A(vec![V::U(9)]), medium]);
    let events = vec![
        off_gpu,
        window,
        removed(V::S("CPU_PINNED")),
        removed(V::S("GPU")),
        removed(V::Nil),
        V::A(vec![V::S("BlockRemoved"), V::A(vec![V::U(9)])]),
        V::M(vec![
            ("type", V::S("BlockRemoved")),
            ("block_hashes", V::A(vec![V::U(9)])),
        ]),
        V::A(vec![V::S("BlockMoved"), V::U(3)]),
        V::M(vec![("type", V::S("AllBlocksCleared"))]),
        V::A(vec![V::S("AllBlocksCleared")]),
    ];
    let nine = || Event::Removed(vec![9]);
    let expected = Batch {
        rank: 3,
        events: vec![nine(), nine(), nine(), nine(), Event::Cleared, Event::Cleared],
        undecodable: 0,
    };
    assert_eq!(decoded(&batch(events.clone(), V::U(3))), expected);
    for rank in ["data_parallel_rank", "attn_dp_rank"] {
        let map = V::M(vec![
            ("ts", V::F(0.5)),
            ("events", V::A(events.clone())),
            (rank, V::U(3)),
        ]);
        assert_eq!(decoded(&map), expected, "{rank}");
    }
    assert_eq!(decoded(&V::A(vec![V::F(0.5), V::A(vec![])])).rank, 0);
}

#[test]
fn hashes_are_numbers_or_bytes_and_each_group_has_its_own() {
    let of = |hash: V, more| stored(stored_map(vec![hash], V::Nil, ints([1]), 1, more)).hashes[0];
    let sha256 = |last: u8| V::B([vec![7; 31], vec![last]].concat());
    assert_eq!(of(sha256(1), vec![]), of(sha256(1), vec![]));
    assert_ne!(of(sha256(1), vec![]), of(sha256(2), vec![]));
    assert_eq!(of(V::U(u64::MAX), vec![]), of(V::I(-1), vec![]));
    let in_group = |group| of(V::U(8), vec![("group_idx", V::U(group))]);
    assert_eq!(in_group(0), 8);
    assert!(in_group(1) != 8 && in_group(1) != in_group(2));
    let removed = V::A(vec![
        V::S("BlockRemoved"),
        V::A(vec![V::U(8)]),
        V::S("GPU"),
        V::U(1),
    ]);
    assert_eq!(
        decoded(&batch(vec![removed], V::Nil)).events,
        [Event::Removed(vec![in_group(1)])]
    );
}

#[test]
fn adapters_and_salts_are_named_and_images_are_not_text() {
    let with = |more| stored(stored_map(vec![V::U(1), V::U(2)], V::Nil, ints([1, 2]), 1, more));
    let keys = |first: Vec<V>, second| ("extra_keys", V::A(vec![V::A(first), second]));
    let lora = || ("lora_name", V::S("sql"));

    let both = with(vec![
        lora(),
        keys(vec![V::S("sql"), V::S("alice")], V::A(vec![V::S("sql")])),
    ]);
    assert_eq!(
        (both.lora.as_deref(), both.salt.as_deref()),
        (Some("sql"), Some("alice"))
    );
    assert_eq!(both.extra, []);
    let adapter = with(vec![lora(), keys(vec![V::S("sql")], V::A(vec![V::S("sql")]))]);
    assert_eq!(
        (adapter.lora.as_deref(), adapter.salt, adapter.extra),
        (Some("sql"), None, vec![])
    );
    let unnamed = with(vec![("lora_id", V::U(4))]);
    assert!(unnamed.lora.is_some_and(|name| name != "4"), "nobody's name");

    let image = |name| V::A(vec![V::S(name), V::I(-3)]);
    let seen = with(vec![keys(
        vec![image("cat"), V::S("alice")],
        V::A(vec![image("dog")]),
    )]);
    assert_eq!(seen.salt.as_deref(), Some("alice"));
    assert!(seen.extra[0] != 0 && seen.extra[1] != 0 && seen.extra[0] != seen.extra[1]);
    assert_eq!(with(vec![keys(vec![V::S("alice")], V::Nil)]).extra, []);

    let salted = || V::M(vec![("cache_salt", V::S("alice"))]);
    let salt = |parent, more| stored(stored_array(vec![V::U(1)], parent, ints([1]), 1, more)).salt;
    let alice = Some("alice".to_owned());
    assert_eq!(salt(V::U(3), vec![V::Nil, V::S("GPU"), salted()]), alice);
    let keys = || V::A(vec![V::A(vec![V::S("alice")])]);
    assert_eq!(
        salt(V::Nil, vec![V::Nil, V::S("GPU"), V::Nil, keys(), salted()]),
        alice
    );
    assert_eq!(
        salt(V::U(3), vec![V::Nil, V::S("GPU"), V::Nil, keys()]),
        None,
        "salts are said of the first"
    );
}

#[test]
fn an_event_that_cannot_be_read_costs_only_itself() {
    let pairs = V::A(vec![ints([1, 2]), ints([2, 3])]);
    let events = vec![
        stored_array(vec![V::U(1)], V::Nil, pairs, 2, vec![V::Nil]),
        stored_array(vec![V::U(1)], V::Nil, ints([1, 2, 3]), 2, vec![V::Nil]),
        stored_array(vec![V::U(1)], V::Nil, ints([]), 0, vec![V::Nil]),
        stored_array(vec![V::S("x"), V::Nil], V::Nil, ints([1, 2]), 1, vec![V::Nil]),
        V::A(vec![V::S("BlockRemoved")]),
        V::U(7),
        V::A(vec![V::S("AllBlocksCleared")]),
    ];
    let read = decoded(&batch(events, V::Nil));
    assert_eq!((read.events, read.undecodable), (vec![Event::Cleared], 6));

    let whole = pack(&batch(vec![V::A(vec![V::S("AllBlocksCleared")])], V::U(1)));
    assert!((0..whole.len()).all(|end| decode(&whole[..end]).is_none()));
    assert_eq!(
        decode(&[whole.as_slice(), &[0]].concat()),
        None,
        "and nothing after it"
    );
    assert_eq!(
        decode(&pack(&batch(vec![], V::S("one")))),
        None,
        "a rank is a number"
    );
    assert_eq!(decode(&[0x91; 1 << 20]), None, "however deep");
    assert_eq!(
        decode(&[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0]),
        None,
        "however long it says it is"
    );
}

fn value() -> impl Strategy<Value = V> {
    let leaf = prop_oneof![
        Just(V::Nil),
        any::<i64>().prop_map(V::I),
        (0..9_u64).prop_map(V::U),
        prop_oneof![
            Just("BlockStored"),
            Just("BlockRemoved"),
            Just("type"),
            Just("events"),
            Just("block_hashes"),
            Just("cache_salt")
        ]
        .prop_map(V::S),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(V::B),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        let tagged = |inner| proptest::collection::vec(inner, 0..11);
        prop_oneof![
            tagged(inner.clone()).prop_map(V::A),
            (
                prop_oneof![Just("BlockStored"), Just("BlockRemoved")],
                tagged(inner.clone())
            )
                .prop_map(|(tag, rest)| V::A([vec![V::S(tag)], rest].concat())),
            proptest::collection::vec((prop_oneof![Just("type"), Just("token_ids")], inner), 0..4)
                .prop_map(V::M),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_batch_makes_it_panic_nor_what_became_of_it_on_the_way(
        events in proptest::collection::vec(value(), 0..6),
        rank in value(),
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = pack(&batch(events, rank));
        for (place, byte) in flips {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        if let Some(batch) = decode(&bytes) {
            for event in batch.events {
                if let Event::Stored(stored) = event {
                    prop_assert_eq!(stored.tokens.len(), stored.hashes.len() * stored.block_size);
                }
            }
        }
    }
}
