//! What only the inside of the outbox shows.
#![expect(clippy::unwrap_used, reason = "a test may stop on a fault")]

use super::{Outbox, rows};
use crate::clock::Clock;
use crate::store::DataDirectory;

#[tokio::test]
async fn a_record_is_flushed_after_a_removal_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDirectory::claim(folder.path()).unwrap();
    let outbox = Outbox::open(&directory, Clock::system()).await.unwrap();
    for _ in 0..3 {
        outbox.remove_through(7).await.unwrap();
        let (synchronous, vacuum): (i64, i64) = outbox
            .writer
            .write(async |connection| {
                Ok((
                    sqlx::query_scalar("PRAGMA synchronous")
                        .fetch_one(&mut *connection)
                        .await?,
                    sqlx::query_scalar("PRAGMA auto_vacuum")
                        .fetch_one(connection)
                        .await?,
                ))
            })
            .await
            .unwrap();
        // FULL, INCREMENTAL.
        assert_eq!((synchronous, vacuum), (2, 2));
    }
    let left = outbox
        .writer
        .write(async |connection| rows::count(connection).await);
    assert_eq!(left.await.unwrap(), 0);
}
