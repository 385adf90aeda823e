//! Payloads as msgspec makes them.

use rmp::encode;

/// A MessagePack value.
#[derive(Debug, Clone)]
pub enum V {
    Nil,
    I(i64),
    U(u64),
    F(f64),
    S(&'static str),
    B(Vec<u8>),
    A(Vec<V>),
    M(Vec<(&'static str, V)>),
}

pub fn ints(values: impl IntoIterator<Item = u32>) -> V {
    V::A(values.into_iter().map(|value| V::U(value.into())).collect())
}

pub fn pack(value: &V) -> Vec<u8> {
    let mut to = Vec::new();
    write(&mut to, value);
    to
}

fn write(to: &mut Vec<u8>, value: &V) {
    let len = |len: usize| u32::try_from(len).unwrap();
    match value {
        V::Nil => encode::write_nil(to).unwrap(),
        V::I(int) => drop(encode::write_sint(to, *int).unwrap()),
        V::U(int) => drop(encode::write_uint(to, *int).unwrap()),
        V::F(float) => encode::write_f64(to, *float).unwrap(),
        V::S(text) => encode::write_str(to, text).unwrap(),
        V::B(bytes) => encode::write_bin(to, bytes).unwrap(),
        V::A(values) => {
            encode::write_array_len(to, len(values.len())).unwrap();
            values.iter().for_each(|value| write(to, value));
        }
        V::M(pairs) => {
            encode::write_map_len(to, len(pairs.len())).unwrap();
            for (key, value) in pairs {
                encode::write_str(to, key).unwrap();
                write(to, value);
            }
        }
    }
}

/// `[ts, events, rank]`
pub fn batch(events: Vec<V>, rank: V) -> V {
    V::A(vec![V::F(1_753_000_000.25), V::A(events), rank])
}

/// vLLM 0.33: a map.
pub fn stored_map(hashes: Vec<V>, parent: V, tokens: V, block_size: u64, more: Vec<(&'static str, V)>) -> V {
    let mut pairs = vec![
        ("type", V::S("BlockStored")),
        ("block_hashes", V::A(hashes)),
        ("parent_block_hash", parent),
        ("token_ids", tokens),
        ("block_size", V::U(block_size)),
        ("lora_id", V::Nil),
        ("medium", V::S("GPU")),
        ("lora_name", V::Nil),
    ];
    for (key, value) in more {
        pairs.retain(|(known, _)| *known != key);
        pairs.push((key, value));
    }
    V::M(pairs)
}

/// vLLM before, and SGLang: an array. What is left out at the end has its default.
pub fn stored_array(hashes: Vec<V>, parent: V, tokens: V, block_size: u64, more: Vec<V>) -> V {
    let mut values = vec![
        V::S("BlockStored"),
        V::A(hashes),
        parent,
        tokens,
        V::U(block_size),
    ];
    values.extend(more);
    V::A(values)
}
