-- What the engines' own token counters said, each minute: what `farebox ledger reconcile` compares the ledger with.
-- Every replica samples, so failed_attempts is what came since the same replica's sample before, to be summed.
CREATE TABLE engine_counters (
    engine            text NOT NULL,
    at_ms             bigint NOT NULL,
    prompt_tokens     bigint NOT NULL,
    generation_tokens bigint NOT NULL,
    cached_tokens     bigint,          -- NULL: the engine has no such counter
    started_at_s      bigint,          -- when its process started; NULL: it does not say
    in_flight         bigint NOT NULL, -- requests that were there from here
    failed_attempts   bigint NOT NULL, -- those of this replica since its sample before
    PRIMARY KEY (engine, at_ms)
);
