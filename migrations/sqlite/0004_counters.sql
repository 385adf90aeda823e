-- What the engines' own token counters said, each minute: what `farebox ledger reconcile` compares the ledger with.
CREATE TABLE engine_counters (
    engine            TEXT NOT NULL,
    at_ms             INTEGER NOT NULL,
    replica           TEXT NOT NULL, -- who asked; '' where there is one farebox alone
    prompt_tokens     INTEGER NOT NULL,
    generation_tokens INTEGER NOT NULL,
    cached_tokens     INTEGER,          -- NULL: the engine has no such counter
    started_at_s      INTEGER,          -- when its process started; NULL: it does not say
    in_flight         INTEGER NOT NULL, -- requests that were there from here
    failed_attempts   INTEGER NOT NULL, -- those of this replica since its sample before
    PRIMARY KEY (engine, at_ms, replica)
) STRICT, WITHOUT ROWID;
