//! Requests: when they come, how long they are, and which blocks their prompts are made of.

use super::engine::BlockCache;
use farebox_routing::Prompt;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// Tokens in a block of a trace.
pub const BLOCK_TOKENS: usize = 512;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Milliseconds from the trace's start.
    pub at_ms: f64,
    /// The prompt, as routing sees it.
    pub prompt: Prompt,
    /// The names of its blocks.
    pub blocks: Vec<u64>,
    /// Tokens that it makes.
    pub output: u32,
}

#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    input_length: usize,
    output_length: u32,
    hash_ids: Vec<u64>,
}

fn request(at_ms: f64, input: usize, output: u32, mut blocks: Vec<u64>) -> Request {
    // The last block of a trace may be begun only: an engine caches whole ones.
    blocks.truncate(input / BLOCK_TOKENS);
    Request {
        at_ms,
        prompt: Prompt::of_names(blocks.iter().copied(), BLOCK_TOKENS, input.max(1)),
        blocks,
        output: output.max(1),
    }
}

/// Reads a trace of the form of kvcache-ai/Mooncake's: one request a line. The first comes at the beginning of time.
pub fn parse(text: &str) -> Result<Vec<Request>, String> {
    let mut requests = Vec::new();
    let lines = text.lines().zip(1_usize..);
    for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line).map_err(|fault| format!("line {number}: {fault}"))?;
        let (input, output) = (line.input_length, line.output_length);
        requests.push(request(line.timestamp, input, output, line.hash_ids));
    }
    requests.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
    let first = requests.first().ok_or("there is no request in it")?.at_ms;
    for request in &mut requests {
        request.at_ms -= first;
    }
    Ok(requests)
}

/// Conversations under a few system prompts: half an hour of them, always the same.
pub fn made_up() -> Vec<Request> {
    let mut random = Random(0x5eed);
    let mut requests = Vec::new();
    let mut name = 1_000_u64;
    let systems: Vec<Vec<u64>> = (0..24)
        .map(|index| (index * 40..index * 40 + 1 + random.below(12)).collect())
        .collect();
    for _ in 0..2_400 {
        // Some system prompts are asked for far more often than others.
        let popular = random.below(24).min(random.below(24)).min(random.below(24));
        let mut blocks = systems[usize::try_from(popular).unwrap_or(0)].clone();
        let mut at_ms = random.unit() * 1_800_000.0;
        let turns = 1 + random.below(4) * random.below(4);
        for _ in 0..turns {
            let grows = 1 + random.below(4) * random.below(8);
            blocks.extend(name..name + grows);
            name += grows;
            let output = u32::try_from(20 + random.below(700)).unwrap_or(20);
            let input = blocks.len() * BLOCK_TOKENS + usize::try_from(random.below(512)).unwrap_or(0);
            requests.push(request(at_ms, input, output, blocks.clone()));
            at_ms += 8_000.0 + random.unit() * 60_000.0;
        }
    }
    requests.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
    requests
}

/// The same trace with its hottest prefix so many times as hot: each request that has it comes with others, each of which
/// goes on in its own way after the prefix.
pub fn hot(trace: &[Request], times: usize) -> Vec<Request> {
    let prefix = hottest_prefix(trace);
    let mut name = 1 << 40;
    let mut all = Vec::new();
    // Over the whole trace, so that it is hot all the time: a tenth of the trace's own requests, `times` times.
    for (index, original) in trace.iter().enumerate() {
        all.push(original.clone());
        if index % 10 == 0 {
            for _ in 0..times {
                name += 1;
                let blocks = [&prefix[..], &[name]].concat();
                let input = blocks.len() * BLOCK_TOKENS + 40;
                all.push(request(original.at_ms, input, 120, blocks));
            }
        }
    }
    all
}

/// The eight blocks that most requests begin with: deep enough to matter, as what every request shares is no hot prefix. Fewer
/// where no prompt is as long.
fn hottest_prefix(trace: &[Request]) -> Vec<u64> {
    let longest = trace.iter().map(|request| request.blocks.len()).max();
    let depth = longest.unwrap_or(0).min(8);
    let mut counts: HashMap<&[u64], usize> = HashMap::new();
    for prefix in trace.iter().filter_map(|request| request.blocks.get(..depth)) {
        *counts.entry(prefix).or_default() += 1;
    }
    let hottest = counts.into_iter().max_by_key(|&(prefix, count)| (count, prefix));
    hottest.map_or_else(Vec::new, |(prefix, _)| prefix.to_vec())
}

/// The hit rate of one cache of so many blocks that everything goes through in order.
pub fn bound(trace: &[Request], capacity: usize) -> f64 {
    let mut cache = BlockCache::new(capacity);
    let (mut hits, mut all) = (0, 0);
    for request in trace {
        hits += request.prompt.cut().tokens_of(cache.leading(&request.prompt));
        all += request.prompt.cut().tokens;
        cache.touch(&request.prompt);
    }
    ratio(hits, all)
}

/// Distinct blocks.
pub fn distinct(trace: &[Request]) -> usize {
    let blocks = trace.iter().flat_map(|request| request.prompt.blocks());
    blocks.map(|block| block.seq_hash).collect::<HashSet<_>>().len()
}

/// As a fraction.
pub fn ratio(part: u64, all: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "tokens of a trace are far below 2^53")]
    let ratio = part as f64 / all.max(1) as f64;
    ratio
}

/// xorshift64*: the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) % bound
    }

    fn unit(&mut self) -> f64 {
        ratio(self.below(1 << 30), 1 << 30)
    }
}
