//! A SQLite file's forms, oldest first, built into the binary: `migrations/sqlite/` for the store, forward only.

use super::StoreFault;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;

/// A form's number, its name and the SQL that makes it of the one before.
pub(crate) type Form = (i64, &'static str, &'static str);

/// The store's.
pub(super) const STORE: [Form; 2] = [
    (1, "init", include_str!("../../migrations/sqlite/0001_init.sql")),
    (2, "money", include_str!("../../migrations/sqlite/0002_money.sql")),
];

/// Applies what is missing. A file that holds a form which this binary does not know, or one that was edited since,
/// is refused and left as it is.
pub(super) async fn run(pool: &SqlitePool, forms: &[Form]) -> Result<(), StoreFault> {
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
        .run(pool)
        .await
        .map_err(StoreFault::Migration)
}
