-- Prices with a time from which they hold, credit and spending limits, corrections, roll-ups, checkpoints.

-- What an account may owe at most: 0 is prepaid, NULL is without a ceiling. What it may spend in a calendar month (UTC).
ALTER TABLE accounts ADD COLUMN credit_limit_picodollars INTEGER;
ALTER TABLE accounts ADD COLUMN monthly_limit_picodollars INTEGER;
ALTER TABLE accounts ADD COLUMN closed_at_ms INTEGER;
ALTER TABLE api_keys ADD COLUMN monthly_limit_picodollars INTEGER;

-- A price is a JSON object of whole picodollars (domain `Price`), so that a new unit is not a new column.
DROP TRIGGER price_versions_are_not_updated;
ALTER TABLE price_versions ADD COLUMN price TEXT;
ALTER TABLE price_versions ADD COLUMN effective_at_ms INTEGER; -- NULL: never by itself, it was made to rerate by
ALTER TABLE price_versions ADD COLUMN source TEXT NOT NULL DEFAULT 'models.yaml'; -- models.yaml | admin | rerate
UPDATE price_versions SET
    effective_at_ms = created_at_ms,
    price = json_object('input', input_picodollars, 'cached_input', cached_input_picodollars, 'output', output_picodollars);
ALTER TABLE price_versions DROP COLUMN input_picodollars;
ALTER TABLE price_versions DROP COLUMN cached_input_picodollars;
ALTER TABLE price_versions DROP COLUMN output_picodollars;
CREATE TRIGGER price_versions_are_not_updated BEFORE UPDATE ON price_versions
BEGIN SELECT RAISE(ABORT, 'a price version is never changed'); END;

-- What is not a token (JSON, NULL where there is nothing), and the tier that was served.
ALTER TABLE entries ADD COLUMN units TEXT;
ALTER TABLE entries ADD COLUMN service_tier TEXT NOT NULL DEFAULT 'default';

-- Credit, refunds and corrections: entries that are not requests. An account's balance is the sum of these amounts less
-- the sum of its entries' costs.
CREATE TABLE adjustments (
    id                 BLOB PRIMARY KEY, -- 16 bytes that sort by time, as a request's
    account            TEXT NOT NULL,
    kind               TEXT NOT NULL,    -- credit | refund | correction | write_off
    amount_picodollars INTEGER NOT NULL, -- what it adds to the balance; below zero it takes away
    request            BLOB,             -- the entry that it is about
    price_version      INTEGER,          -- the price that the entry was rerated to
    reference          TEXT NOT NULL,    -- the same one again books nothing
    note               TEXT NOT NULL,
    booked_at_ms       INTEGER NOT NULL,
    UNIQUE (account, reference)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER adjustments_are_not_updated BEFORE UPDATE ON adjustments
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER adjustments_are_not_deleted BEFORE DELETE ON adjustments
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

-- What was used, summed by the hour of admission. Costs in two columns, because a sum does not fit into 64 bits and
-- SQLite would go on with a float: cost_high * 2^32 + cost_low picodollars, cost_low from 0 to 2^32 - 1.
CREATE TABLE usage_rollups (
    account           TEXT NOT NULL,
    hour              INTEGER NOT NULL, -- since 1970
    api_key           TEXT NOT NULL,
    model             TEXT NOT NULL,
    endpoint          TEXT NOT NULL,
    price_version     INTEGER NOT NULL,
    requests          INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    cached_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens  INTEGER NOT NULL,
    cost_high         INTEGER NOT NULL,
    cost_low          INTEGER NOT NULL,
    PRIMARY KEY (account, hour, api_key, model, endpoint, price_version)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_rollups
SELECT account, admitted_at_ms / 3600000, api_key, model, endpoint, price_version, count(*),
       sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens),
       sum(cost_picodollars >> 32) + (sum(cost_picodollars & 4294967295) >> 32),
       sum(cost_picodollars & 4294967295) & 4294967295
FROM entries GROUP BY 1, 2, 3, 4, 5, 6;

-- What a stream that is open has used, so that a crash loses little of it: the entry (JSON) that it would be booked
-- as if farebox ended now.
CREATE TABLE checkpoints (
    id    BLOB PRIMARY KEY,
    entry TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A roll-up moves with its entry, in the same transaction and by whatever hand: nobody can book one without the other,
-- and an entry that is left alone because its id is there moves nothing. `>>` keeps the sign.
DROP TRIGGER entries_move_balances;
DROP TABLE account_balances;
CREATE TRIGGER entries_move_rollups AFTER INSERT ON entries
BEGIN
    INSERT INTO usage_rollups VALUES (
        NEW.account, NEW.admitted_at_ms / 3600000, NEW.api_key, NEW.model, NEW.endpoint, NEW.price_version, 1,
        NEW.prompt_tokens, NEW.cached_tokens, NEW.completion_tokens, NEW.reasoning_tokens,
        NEW.cost_picodollars >> 32, NEW.cost_picodollars & 4294967295)
    ON CONFLICT DO UPDATE SET
        requests          = requests + 1,
        prompt_tokens     = prompt_tokens + excluded.prompt_tokens,
        cached_tokens     = cached_tokens + excluded.cached_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens,
        reasoning_tokens  = reasoning_tokens + excluded.reasoning_tokens,
        cost_high         = cost_high + excluded.cost_high + ((cost_low + excluded.cost_low) >> 32),
        cost_low          = (cost_low + excluded.cost_low) & 4294967295;
    DELETE FROM checkpoints WHERE id = NEW.id;
END;
