-- Who administers, what they changed, what owners ask for, and which engines are drained.

CREATE TABLE admin_tokens (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash          BLOB NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256 of the secret, which is kept nowhere
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    revoked_at_ms INTEGER
) STRICT, WITHOUT ROWID;

-- One row for each change, in its order. Never a secret, a hash or a prompt.
CREATE TABLE audit (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms        INTEGER NOT NULL,
    who          TEXT NOT NULL, -- a token's id, or 'root'
    who_name     TEXT NOT NULL, -- what it was called then
    action       TEXT NOT NULL,
    target       TEXT NOT NULL,
    state_before TEXT,          -- JSON; NULL: there was nothing
    state_after  TEXT,          -- JSON; NULL: there is nothing any more
    request_id   TEXT NOT NULL
) STRICT;

CREATE INDEX audit_by_target ON audit (target, number);
CREATE INDEX audit_by_who ON audit (who, number);

CREATE TRIGGER audit_is_not_updated BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- What owners ask for. A decision is written once.
CREATE TABLE limit_requests (
    id             TEXT PRIMARY KEY,
    account        TEXT NOT NULL REFERENCES accounts (id),
    api_key        TEXT NOT NULL,
    rate_limit     INTEGER NOT NULL CHECK (rate_limit > 0),
    tpm_rate_limit INTEGER,
    reason         TEXT NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('open', 'approved', 'declined')),
    decided_at_ms  INTEGER,
    decided_by     TEXT,
    note           TEXT,
    granted        INTEGER -- what it became; NULL unless approved
) STRICT, WITHOUT ROWID;

CREATE INDEX limit_requests_by_account ON limit_requests (account, created_at_ms);
CREATE UNIQUE INDEX limit_requests_open ON limit_requests (account) WHERE state = 'open';

-- Engines that get no new request until they are restored.
CREATE TABLE drained_engines (
    engine      TEXT PRIMARY KEY,
    since_ms    INTEGER NOT NULL,
    drained_by  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
