//! PostgreSQL's programs, and as whom they run.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What is said where PostgreSQL is missing.
const MISSING: &str =
    "these tests start a PostgreSQL server and none is installed: run `scripts/setup test` first";

/// The folder that has initdb, pg_ctl and postgres: PG_BIN, else Debian's newest, else the first on the PATH.
fn folder() -> PathBuf {
    let given = std::env::var_os("PG_BIN").map(PathBuf::from).into_iter();
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    let version = |bin: &PathBuf| -> Option<u32> { bin.parent()?.file_name()?.to_str()?.parse().ok() };
    debian.sort_by_key(|bin| std::cmp::Reverse(version(bin)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = given
        .chain(debian)
        .chain(std::env::split_paths(&path))
        .find(|folder| {
            ["initdb", "pg_ctl", "postgres"]
                .iter()
                .all(|name| folder.join(name).exists())
        });
    found.unwrap_or_else(|| panic!("{MISSING}"))
}

/// Whether we are root, as whom PostgreSQL refuses to run.
fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

/// The user that PostgreSQL runs as where we are root.
fn user() -> &'static str {
    let has = |name| {
        Command::new("id")
            .arg(name)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    match has("postgres") {
        Ok(status) if status.success() => "postgres",
        _ => "nobody",
    }
}

/// One of PostgreSQL's programs, as a user that it runs as.
pub(super) fn program(name: &str) -> Command {
    let program = folder().join(name);
    if !is_root() {
        return Command::new(program);
    }
    let user = user();
    let group = run(Command::new("id").args(["-g", user]));
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={user}"))
        .arg(format!("--regid={}", group.trim()))
        .args(["--clear-groups", "--"])
        .arg(program);
    command
}

/// Gives a folder to the user that PostgreSQL runs as.
pub(super) fn give(folder: &std::path::Path) {
    if is_root() {
        run(Command::new("chown").arg(user()).arg(folder));
    }
}

/// Runs it to its end and gives its output; a failure is told with all that it said.
pub(super) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{told}{complained}",
        output.status
    );
    told
}
