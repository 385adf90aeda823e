//! Data of a size: keys and entries, made once for each and kept, and copied for each run.
//!
//! The migrations are farebox's own, run in this process. Keys are inserted in bulk. Entries go into the real table, so that its
//! triggers make the roll-ups, and `farebox ledger verify` finds nothing to say about them. It is made without a journal.

use farebox::admission::directory::hash_secret;
use farebox::store::Store;
use farebox_bench_support::Outcome;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a key's secret ends in is its number; all have the same length.
pub const FIRST_SECRET: &str = "fb_0000000000000000000000000000000000000000000";
/// What there is of it in farebox's data folder.
const FILE: &str = "farebox.sqlite";
/// Keys of one account.
const KEYS_AN_ACCOUNT: u64 = 10;
/// Rows in one statement.
const KEYS_AT_ONCE: u64 = 20_000;
const ENTRIES_AT_ONCE: u64 = 500_000;
/// To be raised when what is made here changes.
const RECIPE: u32 = 1;
/// Entries are spread over this long, up to now.
const SPREAD_MS: u64 = 30 * 24 * 3_600_000;

const ACCOUNTS: &str = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
    INSERT INTO accounts (id, name, created_at_ms) SELECT printf('acct_%016x', i), printf('account %d', i), 1 + i FROM n";
/// `?1`: hashes in hex, as a JSON array; `?2`: the number of the first; `?3`: keys of one account.
const KEYS: &str = "INSERT INTO api_keys (id, account, name, hash, created_at_ms)
    SELECT printf('key_%016x', ?2 + key), printf('acct_%016x', (?2 + key) / ?3), printf('key %d', ?2 + key), unhex(value),
           1 + ?2 + key
    FROM json_each(?1)";
/// `?1`: the number of the first; `?2`: of the one behind the last; `?3`: when number 0 was admitted; `?4`: microseconds to the
/// next; `?5`: keys; `?6`: keys of one account; `?7`: the model, of which a prompt token costs 100,000 picodollars and a
/// completion token 320,000.
const ENTRIES: &str = "WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2)
    INSERT INTO entries (id, account, api_key, model, engine, endpoint, state, prompt_tokens, cached_tokens, completion_tokens,
                         reasoning_tokens, usage_source, price_version, cost_picodollars, admitted_at_ms, queue_us, ttft_us,
                         total_us)
    SELECT unhex(printf('%012x%020x', ?3 + i * ?4 / 1000, i)), printf('acct_%016x', i % ?5 / ?6), printf('key_%016x', i % ?5), ?7,
           'engine-000000', 'chat_completions', 'completed', 187, 0, 32, 0, 'engine', 1, 187 * 100000 + 32 * 320000,
           ?3 + i * ?4 / 1000, 12, 40000, 900000
    FROM n";

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Keys, ten an account.
    pub keys: u64,
    /// Entries in the ledger, of all keys in turn, over thirty days.
    pub entries: u64,
}

impl Size {
    /// Copies data of this size into `data`, a data folder that is not there yet. What was never made is made in `kept` first.
    pub async fn copy_into(self, data: &Path, kept: &Path, model: &str) -> Outcome<()> {
        let made = kept.join(format!(
            "{}-keys-{}-entries-{:016x}",
            self.keys,
            self.entries,
            form(model)?
        ));
        if !made.join(FILE).is_file() {
            eprintln!("making {} keys and {} entries", self.keys, self.entries);
            std::fs::create_dir_all(kept)?;
            let making = tempfile::Builder::new().prefix("making-").tempdir_in(kept)?;
            self.make(making.path(), model).await?;
            std::fs::rename(making.keep(), &made)?;
        }
        std::fs::create_dir_all(data)?;
        let copy = data.join(FILE);
        std::fs::copy(made.join(FILE), &copy)?;
        // What is still to be written would be written while others are measured.
        Ok(std::fs::File::open(copy)?.sync_all()?)
    }

    async fn make(self, folder: &Path, model: &str) -> Outcome<()> {
        drop(Store::open(folder).await?);
        let options = SqliteConnectOptions::new().filename(folder.join(FILE));
        let options = options.pragma("journal_mode", "OFF").pragma("synchronous", "OFF");
        let options = options
            .pragma("locking_mode", "EXCLUSIVE")
            .pragma("cache_size", "-2000000");
        let mut connection = options.disable_statement_logging().connect().await?;
        sqlx::query("BEGIN").execute(&mut connection).await?;
        self.add_keys(&mut connection).await?;
        self.add_entries(&mut connection, model).await?;
        sqlx::query("COMMIT").execute(&mut connection).await?;
        sqlx::query("PRAGMA journal_mode = WAL")
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        // The file alone is kept: nothing of it may be left beside it.
        let beside = std::fs::metadata(folder.join(format!("{FILE}-wal")));
        if beside.is_ok_and(|wal| wal.len() > 0) {
            return Err("the data was not all written into its file".into());
        }
        Ok(())
    }

    async fn add_keys(self, connection: &mut SqliteConnection) -> Outcome<()> {
        let accounts = i64::try_from(self.keys.div_ceil(KEYS_AN_ACCOUNT))?;
        sqlx::query(ACCOUNTS)
            .bind(accounts)
            .execute(&mut *connection)
            .await?;
        let mut first = 0;
        while first < self.keys {
            let behind = self.keys.min(first + KEYS_AT_ONCE);
            let hashes: Vec<String> = (first..behind).map(|number| hex_hash(&secret(number))).collect();
            sqlx::query(KEYS)
                .bind(serde_json::to_string(&hashes)?)
                .bind(i64::try_from(first)?)
                .bind(i64::try_from(KEYS_AN_ACCOUNT)?)
                .execute(&mut *connection)
                .await?;
            first = behind;
        }
        Ok(())
    }

    async fn add_entries(self, connection: &mut SqliteConnection, model: &str) -> Outcome<()> {
        let Some(apart_us) = (SPREAD_MS * 1_000).checked_div(self.entries) else {
            return Ok(());
        };
        let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let mut first = 0;
        while first < self.entries {
            let behind = self.entries.min(first + ENTRIES_AT_ONCE);
            let mut insert = sqlx::query(ENTRIES);
            for number in [
                first,
                behind,
                now_ms - SPREAD_MS,
                apart_us,
                self.keys,
                KEYS_AN_ACCOUNT,
            ] {
                insert = insert.bind(i64::try_from(number)?);
            }
            insert.bind(model).execute(&mut *connection).await?;
            first = behind;
        }
        Ok(())
    }
}

fn secret(number: u64) -> String {
    let digits = number.to_string();
    format!("{}{digits}", &FIRST_SECRET[..FIRST_SECRET.len() - digits.len()])
}

fn hex_hash(secret: &str) -> String {
    use std::fmt::Write as _;
    hash_secret(secret).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

/// Of what the data is made: another schema, model or recipe is other data.
fn form(model: &str) -> Outcome<u64> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite"));
    let mut migrations: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|file| Ok(file?.path()))
        .collect::<Outcome<_>>()?;
    migrations.sort();
    let mut hasher = DefaultHasher::new();
    for migration in migrations {
        std::fs::read(migration)?.hash(&mut hasher);
    }
    (RECIPE, model, ACCOUNTS, KEYS, ENTRIES).hash(&mut hasher);
    Ok(hasher.finish())
}
