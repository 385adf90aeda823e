-- What farebox keeps, and all of it: accounts, API keys (hashes), limits, settings, prices, entries, balances.
-- Never content. Forward only: a migration that has been released is not edited; the next one follows it.
-- Times are milliseconds since 1970. Money is whole picodollars (1e-12 USD).

CREATE TABLE accounts (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id            TEXT PRIMARY KEY,
    account       TEXT NOT NULL REFERENCES accounts (id),
    name          TEXT NOT NULL,
    hash          BLOB NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256 of the secret, which is kept nowhere
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    revoked_at_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE limits (
    account             TEXT NOT NULL REFERENCES accounts (id),
    model               TEXT NOT NULL, -- '' is the account as a whole: a key's column cannot be NULL
    concurrent_requests INTEGER NOT NULL CHECK (concurrent_requests >= 0),
    PRIMARY KEY (account, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- A price is a row for ever: entries name the version that they were admitted under.
CREATE TABLE price_versions (
    version                   INTEGER PRIMARY KEY AUTOINCREMENT,
    model                     TEXT NOT NULL,
    input_picodollars         INTEGER NOT NULL, -- a token
    cached_input_picodollars  INTEGER,          -- NULL: as input
    output_picodollars        INTEGER NOT NULL,
    created_at_ms             INTEGER NOT NULL
) STRICT;

CREATE INDEX price_versions_by_model ON price_versions (model, version);

CREATE TRIGGER price_versions_are_not_updated BEFORE UPDATE ON price_versions
BEGIN SELECT RAISE(ABORT, 'a price version is never changed'); END;
CREATE TRIGGER price_versions_are_not_deleted BEFORE DELETE ON price_versions
BEGIN SELECT RAISE(ABORT, 'a price version is never deleted'); END;

-- One row a request. Ids sort by time, so a commit appends to the last page of one b-tree and touches no other.
-- No foreign keys: an entry whose account or price is unknown is still money owed, so it is booked, and
-- `farebox ledger verify` reports it.
CREATE TABLE entries (
    id                BLOB PRIMARY KEY,
    client_request_id TEXT,
    account           TEXT NOT NULL,
    api_key           TEXT NOT NULL,
    model             TEXT NOT NULL,
    engine            TEXT,
    endpoint          TEXT NOT NULL,
    state             TEXT NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    cached_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens  INTEGER NOT NULL,
    usage_source      TEXT NOT NULL,
    price_version     INTEGER NOT NULL,
    cost_picodollars  INTEGER NOT NULL,
    admitted_at_ms    INTEGER NOT NULL,
    queue_us          INTEGER NOT NULL,
    ttft_us           INTEGER,
    total_us          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entries_are_not_updated BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

-- The sum of an account's entries: balance_high * 2^32 + balance_low picodollars, with balance_low from 0 to 2^32 - 1.
-- Two columns, because a sum does not fit into 64 bits and SQLite would go on with a float.
CREATE TABLE account_balances (
    account      TEXT PRIMARY KEY,
    balance_high INTEGER NOT NULL,
    balance_low  INTEGER NOT NULL,
    entries      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A balance moves with its entry, in the same transaction and by whatever hand: nobody can book one without the
-- other, and an entry that is left alone because its id is there moves nothing. `>>` keeps the sign.
CREATE TRIGGER entries_move_balances AFTER INSERT ON entries
BEGIN
    INSERT INTO account_balances (account, balance_high, balance_low, entries)
    VALUES (NEW.account, NEW.cost_picodollars >> 32, NEW.cost_picodollars & 4294967295, 1)
    ON CONFLICT (account) DO UPDATE SET
        balance_high = balance_high + excluded.balance_high + ((balance_low + excluded.balance_low) >> 32),
        balance_low  = (balance_low + excluded.balance_low) & 4294967295,
        entries      = entries + 1;
END;
