//! Two farebox processes on one data directory.

use crate::crash::Process;
use crate::gateway::models;
use crate::postgres::Server;

/// The second says what is the matter and ends; the first is not disturbed. The same holds for a replica, whose outbox is
/// there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_farebox_on_a_data_directory_is_refused() {
    let database = Server::shared().database().await;
    for database in [None, Some(database.url())] {
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = (folder.path().join("models.yaml"), folder.path().join("data"));
        std::fs::write(&config, models(&["http://127.0.0.1:9"], "")).unwrap();
        let start = || Process::start_on(&config, &data, database).wait_until_ready();
        let first = start().unwrap_or_else(|said| panic!("{said}"));
        let Err(said) = start() else {
            panic!("two on one directory")
        };
        let said = said.replace(&data.display().to_string(), "DATA");
        insta::allow_duplicates! {
            insta::assert_snapshot!(said, @"
            error: another farebox uses the data directory DATA
            [1]
            ");
        }
        first.end();
        start()
            .unwrap_or_else(|said| panic!("what ended leaves nothing behind: {said}"))
            .end();
    }
}
