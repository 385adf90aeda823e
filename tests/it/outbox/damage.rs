//! Disks that lose or change what they had confirmed: what was acknowledged is there, or the file is refused.

use super::targets::{Target, shared};
use super::{kept, open, said, settlement, settlements, try_open};
use farebox::ledger::{Journal, OutboxFault, Shipper};
use farebox::store::{Store, StoreFault};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The WAL's header, and each frame's header before its page.
const WAL_HEADER: usize = 32;
const FRAME: usize = 24 + 4_096;

/// What a machine that lost its power has on its disk: the files as they are while the outbox is open.
fn copy_as_it_is(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["outbox.sqlite", "outbox.sqlite-wal", "outbox.mark"] {
        fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// An outbox that holds these many settlements, all of them in its WAL, after a crash.
async fn crashed(records: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    for number in 0..records {
        outbox.record(&[settlement(number)]).await.unwrap();
    }
    copy_as_it_is(folder.path())
}

fn edit(file: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    edit(&mut bytes);
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_crash_leaves_what_was_recorded() {
    let folder = crashed(20).await;
    let outbox = open(folder.path()).await;
    assert_eq!(outbox.pending(), 20);
    assert_eq!(kept(folder.path()).await, settlements(0..20));
}

#[tokio::test]
async fn what_was_being_written_at_a_crash_is_left_out() {
    let folder = crashed(20).await;
    // A frame that was begun, and one that is all there but for its page.
    edit(&folder.path().join("outbox.sqlite-wal"), |wal| {
        let last = wal.len() - FRAME;
        let header: Vec<u8> = wal[last..last + 24].to_vec();
        wal.extend(header);
        wal.extend(vec![0; 100]);
    });
    open(folder.path()).await;
    assert_eq!(kept(folder.path()).await, settlements(0..20));
}

#[tokio::test]
async fn a_wal_that_lost_its_tail_is_refused_with_what_is_missing() {
    let folder = crashed(20).await;
    edit(&folder.path().join("outbox.sqlite-wal"), |wal| {
        wal.truncate(wal.len() - FRAME / 2);
    });
    let refused = try_open(folder.path()).await.err().unwrap();
    assert!(
        matches!(
            refused,
            OutboxFault::Lost {
                first: 20,
                last: 20,
                ..
            }
        ),
        "{refused}"
    );
    let told = refused
        .to_string()
        .replace(&folder.path().display().to_string(), "DATA");
    insta::assert_snapshot!(told, @"DATA/outbox.sqlite has lost up to 1 settlements that requests were told of (numbers 20 to 20): the disk did not keep what it had confirmed, or an older copy of the file was put back. Put back the file together with its -wal file; or, to go on without them, remove DATA/outbox.mark");

    // What the message says helps: the rest is there, and recording goes on.
    fs::remove_file(folder.path().join("outbox.mark")).unwrap();
    let outbox = open(folder.path()).await;
    outbox.record(&[settlement(40)]).await.unwrap();
    let mut expected = settlements(0..19);
    expected.push(settlement(40));
    assert_eq!(kept(folder.path()).await, expected);
}

/// Wherever a byte of the log changes or the log ends, nothing that was acknowledged is missing without a word.
#[tokio::test]
async fn a_wal_that_was_cut_or_changed_anywhere_is_whole_or_refused() {
    let sound = crashed(6).await;
    let wal = fs::read(sound.path().join("outbox.sqlite-wal")).unwrap();
    let (mut whole, mut refused) = (0, 0);
    let frames = (wal.len() - WAL_HEADER) / FRAME;
    for frame in (0..frames).rev() {
        let begin = WAL_HEADER + frame * FRAME;
        for (at, cut) in [
            (begin + 5, false),
            (begin + 17, true),
            (begin + FRAME / 2, false),
            (begin + FRAME - 1, true),
        ] {
            let folder = copy_as_it_is(sound.path());
            edit(&folder.path().join("outbox.sqlite-wal"), |wal| {
                if cut {
                    wal.truncate(at);
                } else {
                    wal[at] ^= 0x40;
                }
            });
            match try_open(folder.path()).await {
                Ok(outbox) => {
                    whole += 1;
                    assert_eq!(outbox.pending(), 6, "byte {at}, cut: {cut}");
                    assert_eq!(kept(folder.path()).await, settlements(0..6));
                }
                Err(OutboxFault::Lost { last: 6, .. } | OutboxFault::File(StoreFault::Damaged { .. })) => {
                    refused += 1
                }
                Err(other) => panic!("byte {at}, cut: {cut}: {}", said(&other)),
            }
        }
    }
    assert!(refused > 0, "{whole} whole, {refused} refused");
}

#[tokio::test]
async fn a_file_that_was_removed_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    outbox.record(&settlements(0..3)).await.unwrap();
    drop(outbox);
    fs::remove_file(folder.path().join("outbox.sqlite")).unwrap();
    let refused = try_open(folder.path()).await.err().unwrap();
    assert!(
        matches!(
            refused,
            OutboxFault::Lost {
                first: 1,
                last: 3,
                ..
            }
        ),
        "{refused}"
    );
}

/// What is lost with the file is in the ledger: nobody misses it, and numbers go on after it.
#[tokio::test]
async fn a_file_that_lost_only_what_was_shipped_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    outbox.record(&settlements(0..3)).await.unwrap();
    let (target, bookkeeper) = shared(Target::new());
    let shipper = Shipper::new(Arc::clone(&outbox), bookkeeper);
    assert_eq!(shipper.drain(Duration::from_secs(60)).await, 0);
    drop((shipper, outbox));
    fs::remove_file(folder.path().join("outbox.sqlite")).unwrap();
    let outbox = open(folder.path()).await;
    outbox.record(&[settlement(3)]).await.unwrap();
    drop(outbox);
    let outbox = open(folder.path()).await;
    assert_eq!((outbox.pending(), target.booked().len()), (1, 3));
}

#[tokio::test]
async fn a_mark_that_does_not_read_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).await);
    fs::write(folder.path().join("outbox.mark"), "\0\0\0").unwrap();
    let refused = try_open(folder.path()).await.err().unwrap();
    assert!(matches!(refused, OutboxFault::Mark(..)), "{refused}");
    assert!(refused.to_string().contains("remove it"), "{refused}");
}

/// Overwrites the middle of every page but the first.
fn spoil_pages(file: &Path) {
    edit(file, |bytes| {
        for page in bytes.chunks_exact_mut(4_096).skip(1) {
            page[..200].fill(0xa5);
        }
    });
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_what_to_do() {
    for spoil in [spoil_pages, |file: &Path| {
        edit(file, |bytes| bytes[..64].fill(0xa5))
    }] {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(folder.path()).await;
        outbox.record(&settlements(0..400)).await.unwrap();
        drop(outbox);
        checkpointed(&folder.path().join("outbox.sqlite")).await;
        spoil(&folder.path().join("outbox.sqlite"));
        let refused = try_open(folder.path()).await.err().unwrap();
        assert!(
            matches!(refused, OutboxFault::File(StoreFault::Damaged { .. })),
            "{}",
            said(&refused)
        );
        assert!(refused.to_string().contains("`sqlite3 "), "{refused}");
    }
}

#[tokio::test]
async fn a_damaged_store_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).await.unwrap());
    checkpointed(&folder.path().join("farebox.sqlite")).await;
    spoil_pages(&folder.path().join("farebox.sqlite"));
    let refused = Store::open(folder.path()).await.err().unwrap();
    assert!(
        matches!(refused, StoreFault::Damaged { .. }),
        "{}",
        said(&refused)
    );
}

/// Everything is in the file itself, and nothing in its WAL.
async fn checkpointed(file: &Path) {
    use sqlx::{ConnectOptions, Connection};
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}
