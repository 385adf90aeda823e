-- Events (entries and adjustments) that are still to be delivered to the receiver of models.yaml's `export`, and those
-- that it refused.
--
-- The triggers that fill `undelivered` are not here: `src/ledger/sqlite/export.rs` makes them when export is switched on
-- and drops them when it is switched off (`settings` then has or has not a row `export`). A trigger that asks a setting
-- for each entry would cost every request of every farebox that exports nothing.

CREATE TABLE undelivered (
    id BLOB PRIMARY KEY -- of an entry or of an adjustment; both sort by time
) STRICT, WITHOUT ROWID;

CREATE TABLE export_refused (
    id            BLOB PRIMARY KEY,
    status        INTEGER NOT NULL, -- the receiver's HTTP status; 0: it could not be put into the receiver's form
    reason        TEXT NOT NULL,    -- what it said, the first of it
    refused_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
