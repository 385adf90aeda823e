-- What the engines' own token counters said, each minute: what `farebox ledger reconcile` compares the ledger with.
-- Every replica samples: only it knows what it has there and which of its tries failed.
CREATE TABLE engine_counters (
    engine            text COLLATE "C" NOT NULL,
    at_ms             bigint NOT NULL,
    replica           text COLLATE "C" NOT NULL, -- who asked; '' where there is one farebox alone
    prompt_tokens     bigint NOT NULL,
    generation_tokens bigint NOT NULL,
    cached_tokens     bigint,          -- NULL: the engine has no such counter
    started_at_s      bigint,          -- when its process started; NULL: it does not say
    in_flight         bigint NOT NULL, -- requests that were there from here
    failed_attempts   bigint NOT NULL, -- those of this replica since its sample before
    PRIMARY KEY (engine, at_ms, replica)
);
