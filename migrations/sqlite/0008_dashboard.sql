-- What the dashboard keeps: who is signed in, what its charts are drawn from, and what each replica is doing.

CREATE TABLE sessions (
    hash          BLOB PRIMARY KEY CHECK (length(hash) = 32),       -- SHA-256 of the cookie, which is kept nowhere
    credential    BLOB NOT NULL CHECK (length(credential) = 32),    -- SHA-256 of the key or token that opened it: it ends with it
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What one process counted in a minute or an hour. No bill is made of it.
CREATE TABLE series (
    step_seconds INTEGER NOT NULL,
    at_ms        INTEGER NOT NULL, -- when the minute or hour began
    process      TEXT NOT NULL,
    counted      TEXT NOT NULL,    -- JSON
    PRIMARY KEY (step_seconds, at_ms, process)
) STRICT, WITHOUT ROWID;

CREATE TABLE live_processes (
    process       TEXT PRIMARY KEY,
    started_at_ms INTEGER NOT NULL,
    seen_at_ms    INTEGER NOT NULL,
    live          TEXT NOT NULL    -- JSON
) STRICT, WITHOUT ROWID;
