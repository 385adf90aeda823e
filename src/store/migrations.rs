//! The forms of the store and of any other SQLite file, oldest first, built into the binary: `migrations/`, forward only.
//!
//! A SQLite file is one farebox's own, and is brought up to date when it is opened. A PostgreSQL is shared by replicas of
//! perhaps two versions, so it is changed when an operator says so: `farebox migrate`.

use super::database::connect;
use super::{DatabaseUrl, StoreFault};
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection, SqlSafeStr};
use std::fmt;

/// A form's number, its name and the SQL that makes it of the one before.
pub(crate) type Form = (i64, &'static str, &'static str);

/// The embedded store's.
pub(super) const SQLITE: [Form; 2] = [
    (1, "init", include_str!("../../migrations/sqlite/0001_init.sql")),
    (2, "money", include_str!("../../migrations/sqlite/0002_money.sql")),
];

const POSTGRES: [Form; 1] = [(1, "init", include_str!("../../migrations/postgres/0001_init.sql"))];

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
/// Errors: [`StoreFault::Migration`] where the database holds a form that this binary does not know, or one that is not
/// what this binary knows under its number. It is left as it is.
pub async fn migrate(url: &DatabaseUrl, last: Option<i64>) -> Result<Vec<Step>, StoreFault> {
    let mut connection = connect(url).await?;
    let mut migrator = migrator(&POSTGRES);
    // An advisory lock of the database, ours from before we look until after we changed. It ends with the connection.
    connection.lock().await?;
    migrator.set_locking(false);
    let last = last.unwrap_or(i64::MAX);
    let mut missing = missing_in(&mut connection).await?;
    missing.retain(|step| step.version <= last);
    migrator.run_to(last, &mut connection).await?;
    connection.close().await?;
    Ok(missing)
}

/// The steps that a PostgreSQL lacks. It is not changed. Errors: as [`migrate`].
pub async fn missing(url: &DatabaseUrl) -> Result<Vec<Step>, StoreFault> {
    let mut connection = connect(url).await?;
    let missing = missing_in(&mut connection).await?;
    connection.close().await?;
    Ok(missing)
}

/// Refuses a database that is not of this version's form.
pub(super) async fn require_current(url: &DatabaseUrl) -> Result<(), StoreFault> {
    match missing(url).await?.first() {
        None => Ok(()),
        Some(first) => Err(StoreFault::OldForm(first.clone())),
    }
}

async fn missing_in(connection: &mut PgConnection) -> Result<Vec<Step>, StoreFault> {
    let migrator = migrator(&POSTGRES);
    let table: &str = &migrator.table_name;
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table)
        .fetch_one(&mut *connection)
        .await?;
    let applied = if exists {
        connection.list_applied_migrations(table).await?
    } else {
        Vec::new()
    };
    for known in &applied {
        let ours = migrator.iter().find(|step| step.version == known.version);
        match ours {
            None => return Err(StoreFault::NewerForm(known.version)),
            Some(ours) if ours.checksum != known.checksum => {
                return Err(sqlx::migrate::MigrateError::VersionMismatch(known.version).into());
            }
            Some(_) => {}
        }
    }
    let is_applied = |version| applied.iter().any(|known| known.version == version);
    let missing = migrator.iter().filter(|step| !is_applied(step.version));
    let steps = missing.map(|step| Step {
        version: step.version,
        name: step.description.to_string(),
    });
    Ok(steps.collect())
}
