//! What engines say about their caches, read from the MessagePack in which they say it.
//!
//! vLLM and SGLang encode the same structs with msgspec, as maps with their names or, in older vLLM and in SGLang, as arrays
//! in the order of their fields. Both are read by the same code: a field has a name and a place.

use crate::msgpack::{Value, Values};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The fields of an array or a map that are looked at: those after them are newer than this code.
const MOST_FIELDS: usize = 32;

/// What one publisher says at one time. vLLM: `KVEventBatch`; SGLang: the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which of the engine's data-parallel ranks says it: each has a cache and a sequence of its own.
    pub rank: u32,
    /// In order. Unknown kinds, and blocks that are not on a GPU, are left out.
    pub events: Vec<Event>,
    /// Events of a known kind that could not be read.
    pub undecodable: u64,
}

/// One change of an engine's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Blocks are there now. One more copy of each, if they were already: vLLM does not merge equal blocks.
    Stored(Stored),
    /// One copy of each of these is gone.
    Removed(Vec<u64>),
    /// Nothing is there.
    Cleared,
}

/// Blocks that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The engine's names of them.
    pub hashes: Vec<u64>,
    /// The engine's name of the block before the first; `None` at the beginning of a prompt.
    pub parent: Option<u64>,
    /// `block_size` for each block.
    pub tokens: Vec<u32>,
    /// Tokens in a block.
    pub block_size: usize,
    /// The LoRA adapter's name.
    pub lora: Option<String>,
    /// What the client keeps its cache apart with. vLLM says it of a prompt's first block alone.
    pub salt: Option<String>,
    /// For each block, a hash of what else it depends on, such as an image's bytes, or 0. Empty where no block does.
    pub extra: Vec<u64>,
}

/// A payload's batch; `None` if it is none. Never panics, whatever the bytes are.
pub fn decode(payload: &[u8]) -> Option<Batch> {
    let fields = Fields::of(Value::of_payload(payload)?)?;
    let rank = fields
        .get(2, "data_parallel_rank")
        .or_else(|| fields.get(2, "attn_dp_rank"));
    let rank = match rank {
        None | Some(Value::Nil) => 0,
        Some(rank) => rank.int()?,
    };
    let Some(Value::Array(events)) = fields.get(1, "events") else {
        return None;
    };
    let mut batch = Batch {
        rank,
        events: Vec::new(),
        undecodable: 0,
    };
    for bytes in events {
        match event(bytes) {
            Some(Some(event)) => batch.events.push(event),
            Some(None) => {}
            None => batch.undecodable += 1,
        }
    }
    Some(batch)
}

/// `None` if it cannot be read, `Some(None)` if it is of no interest.
fn event(bytes: &[u8]) -> Option<Option<Event>> {
    let fields = Fields::of(Value::of(bytes)?)?;
    match fields.get(0, "type")?.str()? {
        "BlockStored" if fields.on_gpu(6) && fields.makes_prefixes() => {
            Some(Some(Event::Stored(stored(&fields)?)))
        }
        "BlockRemoved" if fields.on_gpu(2) => Some(Some(Event::Removed(fields.hashes(fields.group(3))?))),
        "AllBlocksCleared" => Some(Some(Event::Cleared)),
        _ => Some(None),
    }
}

fn stored(fields: &Fields) -> Option<Stored> {
    let group = fields.group(9);
    let hashes = fields.hashes(group)?;
    let parent = match fields.get(2, "parent_block_hash") {
        None | Some(Value::Nil) => None,
        Some(parent) => Some(hash(parent, group)?),
    };
    let tokens = fields
        .get(3, "token_ids")?
        .all(|token| Value::of(token)?.int::<u32>())?;
    let block_size: usize = fields.get(4, "block_size")?.int()?;
    if block_size == 0 || hashes.len().checked_mul(block_size) != Some(tokens.len()) {
        return None;
    }
    let lora = match (fields.get(7, "lora_name"), fields.get(5, "lora_id")) {
        (Some(Value::Str(name)), _) => Some(name.to_owned()),
        // An adapter that is not named: nobody's prompts must be taken for its.
        (_, Some(Value::Int(id))) => Some(format!("\0lora_id {id}")),
        _ => None,
    };
    let keys = match fields.get(8, "extra_keys") {
        Some(Value::Array(keys)) => keys.take(hashes.len()).map(Keys::of).collect(),
        _ => Vec::new(),
    };
    // vLLM: the adapter's name, images, the salt of a prompt's first block, embeddings, in this order.
    let salt = fields.metadata_salt().or_else(|| {
        let first = keys.first().filter(|_| parent.is_none())?;
        let mut strings = first.strings.iter().copied();
        strings.rfind(|&string| Some(string) != lora.as_deref())
    });
    let extra: Vec<u64> = keys
        .iter()
        .map(|keys| keys.beside(lora.as_deref(), salt))
        .collect();
    Some(Stored {
        hashes,
        parent,
        tokens,
        block_size,
        salt: salt.map(str::to_owned),
        lora,
        extra: if extra.iter().all(|&extra| extra == 0) {
            Vec::new()
        } else {
            extra
        },
    })
}

/// An engine's name of a block: a number of 64 bits, or the bytes of a longer hash. Each group of layers has blocks of its
/// own under the same names, and they come and go apart.
fn hash(value: Value, group: u32) -> Option<u64> {
    let hash = match value {
        Value::Int(int) => match i64::try_from(int) {
            Ok(int) => int.cast_unsigned(),
            Err(_) => u64::try_from(int).ok()?,
        },
        Value::Bin(bytes) => xxh3_64(bytes),
        Value::Str(text) => xxh3_64(text.as_bytes()),
        _ => return None,
    };
    Some(match group {
        0 => hash,
        group => xxh3_64_with_seed(&hash.to_le_bytes(), u64::from(group)),
    })
}

/// What one block depends on besides its tokens.
#[derive(Default)]
struct Keys<'a> {
    strings: Vec<&'a str>,
    others: u64,
}

impl<'a> Keys<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut keys = Self::default();
        if let Some(Value::Array(values)) = Value::of(bytes) {
            for value in values.take(MOST_FIELDS) {
                match Value::of(value) {
                    Some(Value::Str(string)) => keys.strings.push(string),
                    _ => keys.others = xxh3_64_with_seed(value, keys.others),
                }
            }
        }
        keys
    }

    /// A hash of all but the adapter's name and the salt; 0 if that is nothing.
    fn beside(&self, lora: Option<&str>, salt: Option<&str>) -> u64 {
        let strings = self.strings.iter().copied();
        strings
            .filter(|&string| Some(string) != lora && Some(string) != salt)
            .fold(self.others, |hash, string| {
                xxh3_64_with_seed(string.as_bytes(), hash)
            })
    }
}

/// A struct's fields, in either encoding.
enum Fields<'a> {
    Array(Vec<&'a [u8]>),
    Map(Vec<(&'a str, &'a [u8])>),
}

impl<'a> Fields<'a> {
    fn of(value: Value<'a>) -> Option<Self> {
        match value {
            Value::Array(values) => Some(Self::Array(values.take(MOST_FIELDS).collect())),
            Value::Map(values) => Some(Self::Map(pairs(values).take(MOST_FIELDS).collect())),
            _ => None,
        }
    }

    /// The field of this name, which an array has at this place.
    fn get(&self, place: usize, name: &str) -> Option<Value<'a>> {
        let bytes = match self {
            Self::Array(values) => values.get(place)?,
            Self::Map(pairs) => &pairs.iter().find(|(key, _)| *key == name)?.1,
        };
        Value::of(bytes)
    }

    fn group(&self, place: usize) -> u32 {
        let group = self.get(place, "group_idx").and_then(Value::int);
        group.unwrap_or(0)
    }

    fn hashes(&self, group: u32) -> Option<Vec<u64>> {
        self.get(1, "block_hashes")?
            .all(|bytes| hash(Value::of(bytes)?, group))
    }

    /// vLLM and SGLang say `GPU`, and before they had other places nothing.
    fn on_gpu(&self, place: usize) -> bool {
        let medium = self.get(place, "medium").and_then(Value::str);
        medium.is_none_or(|medium| medium.eq_ignore_ascii_case("GPU"))
    }

    /// Whether these layers attend to all that is before: a window or a state is no prefix.
    fn makes_prefixes(&self) -> bool {
        let kind = self.get(10, "kv_cache_spec_kind").and_then(Value::str);
        kind.is_none_or(|kind| kind.contains("full") || kind == "mla_attention")
    }

    /// SGLang: `BlockStoredWithMetadata`, whose map comes last in the array.
    fn metadata_salt(&self) -> Option<&'a str> {
        let metadata = match self {
            Self::Array(values) => values.iter().skip(7).find_map(|value| match Value::of(value) {
                Some(Value::Map(metadata)) => Some(metadata),
                _ => None,
            }),
            Self::Map(_) => match self.get(0, "metadata") {
                Some(Value::Map(metadata)) => Some(metadata),
                _ => None,
            },
        };
        let (_, salt) = pairs(metadata?).find(|(key, _)| *key == "cache_salt")?;
        Value::of(salt)?.str()
    }
}

/// A map's entries whose keys are text.
fn pairs<'a>(mut values: Values<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    std::iter::from_fn(move || Some((values.next()?, values.next()?)))
        .filter_map(|(key, value)| Some((Value::of(key)?.str()?, value)))
}
