//! What the disk does: a bare 4 KiB write and fdatasync, in a file that has its size, as a WAL has once it is used again.

use crate::Outcome;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: usize = 4_096;
const BLOCKS: u64 = 1_024;

/// So many of them one after the other, sorted.
pub fn synced_writes(folder: &Path, count: u64) -> Outcome<Vec<Duration>> {
    let path = folder.join("blocks");
    let file = File::create(&path)?;
    let block = [0x5a; BLOCK];
    let offset = |at: u64| at % BLOCKS * 4_096;
    for at in 0..BLOCKS {
        file.write_all_at(&block, offset(at))?;
    }
    file.sync_all()?;
    let mut took = Vec::new();
    for at in 0..count {
        let begun = Instant::now();
        file.write_all_at(&block, offset(at))?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    took.sort_unstable();
    Ok(took)
}
