-- What the dashboard keeps: who is signed in, what its charts are drawn from, and what each replica is doing.

CREATE TABLE sessions (
    hash          bytea PRIMARY KEY CHECK (length(hash) = 32),      -- SHA-256 of the cookie, which is kept nowhere
    credential    bytea NOT NULL CHECK (length(credential) = 32),   -- SHA-256 of the key or token that opened it: it ends with it
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL
);

-- What one process counted in a minute or an hour. No bill is made of it.
CREATE TABLE series (
    step_seconds bigint NOT NULL,
    at_ms        bigint NOT NULL, -- when the minute or hour began
    process      text COLLATE "C" NOT NULL,
    counted      text NOT NULL,   -- JSON
    PRIMARY KEY (step_seconds, at_ms, process)
);

CREATE TABLE live_processes (
    process       text COLLATE "C" PRIMARY KEY,
    started_at_ms bigint NOT NULL,
    seen_at_ms    bigint NOT NULL,
    live          text NOT NULL   -- JSON
);
