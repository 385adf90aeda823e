//! The forms of the store and of any other SQLite file, oldest first, built into the binary: `migrations/`, forward only.
//!
//! A SQLite file is one farebox's own, and is brought up to date when it is opened. A PostgreSQL is shared by replicas of
//! perhaps two versions, so it is changed when an operator says so: `farebox migrate`.

use super::database::connect;
use super::{DatabaseUrl, StoreFault};
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection, SqlSafeStr};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A form's number, its name and the SQL that makes it of the one before.
pub(crate) type Form = (i64, &'static str, &'static str);

/// The embedded store's.
pub(super) const SQLITE: [Form; 8] = [
    (1, "init", include_str!("../../migrations/sqlite/0001_init.sql")),
    (2, "money", include_str!("../../migrations/sqlite/0002_money.sql")),
    (
        3,
        "export",
        include_str!("../../migrations/sqlite/0003_export.sql"),
    ),
    (
        4,
        "counters",
        include_str!("../../migrations/sqlite/0004_counters.sql"),
    ),
    (5, "keys", include_str!("../../migrations/sqlite/0005_keys.sql")),
    (
        6,
        "administration",
        include_str!("../../migrations/sqlite/0006_administration.sql"),
    ),
    (7, "rates", include_str!("../../migrations/sqlite/0007_rates.sql")),
    (
        8,
        "dashboard",
        include_str!("../../migrations/sqlite/0008_dashboard.sql"),
    ),
];

const POSTGRES: [Form; 8] = [
    (1, "init", include_str!("../../migrations/postgres/0001_init.sql")),
    (
        2,
        "export",
        include_str!("../../migrations/postgres/0002_export.sql"),
    ),
    (
        3,
        "counters",
        include_str!("../../migrations/postgres/0003_counters.sql"),
    ),
    (
        4,
        "history",
        include_str!("../../migrations/postgres/0004_history.sql"),
    ),
    (5, "keys", include_str!("../../migrations/postgres/0005_keys.sql")),
    (
        6,
        "administration",
        include_str!("../../migrations/postgres/0006_administration.sql"),
    ),
    (
        7,
        "rates",
        include_str!("../../migrations/postgres/0007_rates.sql"),
    ),
    (
        8,
        "dashboard",
        include_str!("../../migrations/postgres/0008_dashboard.sql"),
    ),
];

/// Where a PostgreSQL notes which steps it has taken.
const TABLE: &str = "_sqlx_migrations";

/// One step from a form to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number; they count from 1.
    pub version: i64,
    /// What it is about.
    pub name: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}_{}", self.version, self.name)
    }
}

fn migrator(forms: &[Form]) -> Migrator {
    let migrations = forms.iter().map(|(version, name, sql)| {
        Migration::new(
            *version,
            (*name).into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}

/// Applies what is missing. A file that holds a form which this binary does not know, or one that was edited since,
/// is refused and left as it is.
pub(super) async fn run(pool: &SqlitePool, forms: &[Form]) -> Result<(), StoreFault> {
    Ok(migrator(forms).run(pool).await?)
}

/// Brings a PostgreSQL to this version's form, up to and with the version `last`, and returns the steps that it took.
/// Several at once are fine: one works, and the others find nothing to do.
///
/// Errors: [`StoreFault::NewerForm`] where the database holds a form that this binary does not know,
/// [`StoreFault::Migration`] where one is not what this binary knows under its number: it is left as it is. Also
/// [`StoreFault::Away`].
pub async fn migrate(url: &DatabaseUrl, last: Option<i64>) -> Result<Vec<Step>, StoreFault> {
    let mut connection = connect(url).await?;
    // An advisory lock of the database, ours from before we look until after we changed. It ends with the connection.
    connection.lock().await?;
    let mut missing = missing_in(&mut connection).await?;
    missing.retain(|migration| last.is_none_or(|last| migration.version <= last));
    connection.ensure_migrations_table(TABLE).await?;
    for migration in &missing {
        // Each in a transaction of its own, with the note that it was taken.
        connection.apply(TABLE, migration).await?;
    }
    connection.close().await?;
    Ok(steps(missing))
}

/// The steps that a PostgreSQL lacks. It is not changed. Errors: as [`migrate`].
pub async fn missing(url: &DatabaseUrl) -> Result<Vec<Step>, StoreFault> {
    let mut connection = connect(url).await?;
    let missing = missing_in(&mut connection).await?;
    connection.close().await?;
    Ok(steps(missing))
}

/// Refuses a database that is not of this version's form.
pub(super) async fn require_current(url: &DatabaseUrl) -> Result<(), StoreFault> {
    match missing(url).await?.first() {
        None => Ok(()),
        Some(first) => Err(StoreFault::OldForm(first.clone())),
    }
}

async fn missing_in(connection: &mut PgConnection) -> Result<Vec<Migration>, StoreFault> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(TABLE)
        .fetch_one(&mut *connection)
        .await?;
    let mut applied: BTreeMap<i64, Cow<'static, [u8]>> = BTreeMap::new();
    if exists {
        let read = connection.list_applied_migrations(TABLE).await?;
        applied.extend(read.into_iter().map(|known| (known.version, known.checksum)));
    }
    let mut missing = Vec::new();
    for ours in migrator(&POSTGRES).iter() {
        match applied.remove(&ours.version) {
            None => missing.push(ours.clone()),
            Some(checksum) if checksum == ours.checksum => {}
            Some(_) => return Err(MigrateError::VersionMismatch(ours.version).into()),
        }
    }
    match applied.last_key_value() {
        None => Ok(missing),
        Some((unknown, _)) => Err(StoreFault::NewerForm(*unknown)),
    }
}

fn steps(migrations: Vec<Migration>) -> Vec<Step> {
    let step = |migration: Migration| Step {
        version: migration.version,
        name: migration.description.into_owned(),
    };
    migrations.into_iter().map(step).collect()
}
