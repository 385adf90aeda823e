//! The store's forms, oldest first, built into the binary: `migrations/sqlite/`, forward only.

use super::StoreFault;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;

const FORMS: [(i64, &str, &str); 4] = [
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
];

/// Applies what is missing. A file that holds a form which this binary does not know, or one that was edited since,
/// is refused and left as it is.
pub(super) async fn run(pool: &SqlitePool) -> Result<(), StoreFault> {
    let migrations = FORMS.map(|(version, name, sql)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.into())
        .run(pool)
        .await
        .map_err(StoreFault::Migration)
}
