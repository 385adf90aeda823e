//! What takes a process of its own: killed, short of disk, without the right to write. The process is this test binary,
//! asked for one of the ignored tests below.

use super::{kept, open, said, settlement, settlements, try_open};
use farebox::ledger::{Journal, OutboxFault};
use farebox::store::StoreFault;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const FOLDER: &str = "FAREBOX_TEST_OUTBOX";
/// What a child says begins with it; the harness says things too.
const SAYS: &str = "child says ";

fn folder() -> PathBuf {
    std::env::var(FOLDER).unwrap().into()
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn say(what: impl std::fmt::Display) {
    println!("\n{SAYS}{what}");
}

/// Starts the test with this name, by way of another program if it has one.
fn start(through: &[&str], test: &str, folder: &Path) -> Child {
    let this = std::env::current_exe().unwrap();
    let mut command = match through {
        [] => Command::new(this),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    command
        .args([
            "--exact",
            &format!("outbox::children::{test}"),
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a child says.
fn sayings(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.filter_map(|line| Some(line.unwrap().split_once(SAYS)?.1.to_owned()))
}

fn all_it_says(mut child: Child) -> Vec<String> {
    let said = sayings(&mut child).collect();
    assert!(child.wait().unwrap().success());
    said
}

#[tokio::test]
#[ignore = "another test starts it as a process"]
async fn records_until_it_is_killed() {
    let outbox = open(&folder()).await;
    for number in 0.. {
        outbox.record(&[settlement(number)]).await.unwrap();
        say(number + 1);
    }
}

#[tokio::test]
async fn what_was_recorded_survives_kill_9_and_the_directory_is_one_process_s() {
    for enough in [1, 40, 97] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = start(&[], "records_until_it_is_killed", folder.path());
        let mut recorded = 0;
        for said in sayings(&mut child) {
            recorded = said.parse().unwrap();
            if recorded == enough {
                let refused = try_open(folder.path()).await.err().unwrap();
                assert!(
                    matches!(refused, OutboxFault::File(StoreFault::InUse(_))),
                    "{refused}"
                );
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let outbox = open(folder.path()).await;
        let found = kept(folder.path()).await;
        let len = found.len() as u64;
        // One may have been recorded without a chance to say so.
        assert!(
            recorded >= enough && (recorded..=recorded + 1).contains(&len),
            "{recorded} recorded, {len} kept"
        );
        assert_eq!(found, settlements(0..len));
        assert_eq!(outbox.pending(), len);
    }
}

#[tokio::test]
#[ignore = "another test starts it as a process"]
async fn records_until_the_disk_is_full() {
    let outbox = open(&folder()).await;
    let (mut recorded, mut failures) = (0, 0);
    while failures < 5 {
        match outbox.record(&[settlement(recorded)]).await {
            Ok(()) => recorded += 1,
            Err(fault) => {
                failures += 1;
                say(said(&fault));
            }
        }
    }
    say(recorded);
}

/// A full disk, by the kernel's own limit on how large a file may grow (RLIMIT_FSIZE): writes fail in the middle of a
/// transaction, as they do without space. Its signal is ignored, as nobody sends one for a full disk.
#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 600; exec \"$0\" \"$@\""];
    let mut sayings = all_it_says(start(&limited, "records_until_the_disk_is_full", folder.path()));
    let recorded: u64 = sayings.pop().unwrap().parse().unwrap();
    assert!(recorded > 0);
    assert_eq!(sayings.len(), 5);
    assert!(
        sayings
            .iter()
            .all(|fault| fault.starts_with("the ledger's database refused: ")),
        "{sayings:?}"
    );
    let outbox = open(folder.path()).await;
    assert_eq!(kept(folder.path()).await, settlements(0..recorded));
    // There is space again.
    outbox.record(&[settlement(recorded)]).await.unwrap();
    assert_eq!(kept(folder.path()).await, settlements(0..=recorded));
}

#[tokio::test]
#[ignore = "another test starts it as a process"]
async fn says_why_it_does_not_open() {
    say(try_open(&folder())
        .await
        .err()
        .map_or("opened".to_owned(), |fault| said(&fault)));
}

/// What opening says to a process without the right to write where it may not: not even root has it then.
fn why_it_does_not_open(folder: &Path) -> String {
    let probe = folder.join("probe");
    let may_write_anyway = fs::write(&probe, "").is_ok() && {
        fs::set_permissions(&probe, Permissions::from_mode(0o400)).unwrap();
        fs::OpenOptions::new().write(true).open(&probe).is_ok()
    };
    let _ = fs::remove_file(&probe);
    let without_it: &[&str] = if may_write_anyway {
        &[
            "setpriv",
            "--bounding-set=-dac_override",
            "--inh-caps=-dac_override",
        ]
    } else {
        &[]
    };
    let said = all_it_says(start(without_it, "says_why_it_does_not_open", folder));
    said.concat().replace(&folder.display().to_string(), "DATA")
}

#[tokio::test]
async fn a_file_or_folder_that_may_not_be_written_is_refused_with_where_to_look() {
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    outbox.record(&settlements(0..3)).await.unwrap();
    drop(outbox);

    let file = folder.path().join("outbox.sqlite");
    mode(&file, 0o400);
    insta::assert_snapshot!(why_it_does_not_open(folder.path()), @"the database file DATA/outbox.sqlite cannot be opened for writing. Look at the owner and mode of it and of its folder, and whether the disk is mounted read-only: error returned from database: (code: 8) attempt to write a readonly database: (code: 8) attempt to write a readonly database");
    mode(&file, 0o600);
    mode(&folder.path().join("outbox.mark"), 0o400);
    assert!(why_it_does_not_open(folder.path()).contains("outbox.mark"));
    mode(&folder.path().join("outbox.mark"), 0o600);
    mode(folder.path(), 0o500);
    assert!(why_it_does_not_open(folder.path()).contains("DATA"));
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(open(folder.path()).await.pending(), 3);

    let empty = tempfile::tempdir().unwrap();
    mode(empty.path(), 0o500);
    assert!(why_it_does_not_open(empty.path()).contains("DATA"));
}
