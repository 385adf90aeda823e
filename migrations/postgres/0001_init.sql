-- What replicas of farebox share. The form of migrations/sqlite, with what several writers need besides.
-- Never content. Forward only: a migration that has been released is not edited; the next one follows it.
-- Times are milliseconds since 1970. Money is whole picodollars (1e-12 USD); sums of it are NUMERIC.

CREATE TABLE accounts (
    id                        text PRIMARY KEY,
    name                      text NOT NULL UNIQUE,
    created_at_ms             bigint NOT NULL,
    credit_limit_picodollars  bigint, -- what it may owe at most: 0 is prepaid, NULL is without a ceiling
    monthly_limit_picodollars bigint, -- what it may spend in a calendar month (UTC)
    closed_at_ms              bigint
);

CREATE TABLE api_keys (
    id                        text PRIMARY KEY,
    account                   text NOT NULL REFERENCES accounts (id),
    name                      text NOT NULL,
    hash                      bytea NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256 of the secret, kept nowhere
    created_at_ms             bigint NOT NULL,
    expires_at_ms             bigint,
    revoked_at_ms             bigint,
    monthly_limit_picodollars bigint
);

CREATE TABLE limits (
    account             text NOT NULL REFERENCES accounts (id),
    model               text NOT NULL, -- '' is the account as a whole
    concurrent_requests bigint NOT NULL CHECK (concurrent_requests BETWEEN 0 AND 4294967295),
    PRIMARY KEY (account, model)
);

CREATE TABLE settings (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);

-- Moves with every change above, so that a replica sees by one number that it must read again.
CREATE TABLE revision (only boolean PRIMARY KEY CHECK (only), number bigint NOT NULL);
INSERT INTO revision VALUES (true, 0);
CREATE FUNCTION farebox_revise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE revision SET number = number + 1;
    PERFORM pg_notify('farebox_revision', '');
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_revise AFTER INSERT OR UPDATE OR DELETE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_revise();
CREATE TRIGGER api_keys_revise AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_revise();
CREATE TRIGGER limits_revise AFTER INSERT OR UPDATE OR DELETE ON limits
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_revise();

-- A price is a row for ever: entries name the version that they were admitted under.
CREATE TABLE price_versions (
    version         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model           text NOT NULL,
    price           text NOT NULL, -- JSON of whole picodollars (domain `Price`)
    effective_at_ms bigint,        -- NULL: never by itself, it was made to rerate by
    source          text NOT NULL, -- models.yaml | admin | rerate
    created_at_ms   bigint NOT NULL
);
CREATE INDEX price_versions_by_model ON price_versions (model, version);
CREATE TRIGGER price_versions_revise AFTER INSERT ON price_versions
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_revise();

-- One row a request. No foreign keys: an entry whose account or price is unknown is still money owed, so it is booked,
-- and `farebox ledger verify` reports it.
CREATE TABLE entries (
    id                bytea PRIMARY KEY CHECK (length(id) = 16),
    client_request_id text,
    account           text NOT NULL,
    api_key           text NOT NULL,
    model             text NOT NULL,
    engine            text,
    endpoint          text NOT NULL,
    state             text NOT NULL,
    prompt_tokens     bigint NOT NULL,
    cached_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    reasoning_tokens  bigint NOT NULL,
    units             text, -- JSON of what is not a token; NULL where there is nothing
    service_tier      text NOT NULL,
    usage_source      text NOT NULL,
    price_version     bigint NOT NULL,
    cost_picodollars  bigint NOT NULL,
    admitted_at_ms    bigint NOT NULL,
    queue_us          bigint NOT NULL,
    ttft_us           bigint,
    total_us          bigint NOT NULL
);
-- Ids sort by the time of admission, so this is an account's history in order.
CREATE INDEX entries_by_account ON entries (account, id);

-- Credit, refunds and corrections: entries that are not requests. An account's balance is the sum of these amounts less
-- the sum of its entries' costs.
CREATE TABLE adjustments (
    id                 bytea PRIMARY KEY CHECK (length(id) = 16),
    account            text NOT NULL,
    kind               text NOT NULL,   -- credit | refund | correction | write_off
    amount_picodollars bigint NOT NULL, -- what it adds to the balance; below zero it takes away
    request            bytea,           -- the entry that it is about
    price_version      bigint,          -- the price that the entry was rerated to
    reference          text NOT NULL,   -- the same one again books nothing
    note               text NOT NULL,
    booked_at_ms       bigint NOT NULL,
    UNIQUE (account, reference)
);

CREATE FUNCTION farebox_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER entries_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_append_only();
CREATE TRIGGER adjustments_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_append_only();
CREATE TRIGGER price_versions_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON price_versions
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_append_only();

-- What was used, summed by the hour of admission.
CREATE TABLE usage_rollups (
    account           text NOT NULL,
    hour              bigint NOT NULL, -- since 1970
    api_key           text NOT NULL,
    model             text NOT NULL,
    endpoint          text NOT NULL,
    price_version     bigint NOT NULL,
    requests          bigint NOT NULL,
    prompt_tokens     numeric NOT NULL,
    cached_tokens     numeric NOT NULL,
    completion_tokens numeric NOT NULL,
    reasoning_tokens  numeric NOT NULL,
    cost              numeric NOT NULL,
    PRIMARY KEY (account, hour, api_key, model, endpoint, price_version)
);

-- What counts against each ceiling; it moves with entries and adjustments, by triggers. `kind` is 'credit' (owner: an account; spent is what it owes), 'account_month' or
-- 'key_month' (`period`: months since 1970; spent is what was admitted in it).
CREATE TABLE spending (
    kind   text NOT NULL,
    owner  text NOT NULL,
    period bigint NOT NULL, -- 0 for credit
    spent  numeric NOT NULL,
    PRIMARY KEY (kind, owner, period)
);

-- Roll-ups and spending move with their entries, in the same statement and by whatever hand.
CREATE FUNCTION farebox_month(at_ms bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(year FROM at) * 12 + extract(month FROM at) - 1970 * 12 - 1)::bigint
    FROM (SELECT to_timestamp(at_ms / 1000) AT TIME ZONE 'UTC' AS at) AS moment
$$;
CREATE FUNCTION farebox_roll_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_rollups
    SELECT account, admitted_at_ms / 3600000, api_key, model, endpoint, price_version, count(*),
           sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), sum(cost_picodollars)
    FROM added GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6 -- in one order, so that two replicas cannot deadlock
    ON CONFLICT (account, hour, api_key, model, endpoint, price_version) DO UPDATE SET
        requests          = usage_rollups.requests + excluded.requests,
        prompt_tokens     = usage_rollups.prompt_tokens + excluded.prompt_tokens,
        cached_tokens     = usage_rollups.cached_tokens + excluded.cached_tokens,
        completion_tokens = usage_rollups.completion_tokens + excluded.completion_tokens,
        reasoning_tokens  = usage_rollups.reasoning_tokens + excluded.reasoning_tokens,
        cost              = usage_rollups.cost + excluded.cost;
    INSERT INTO spending
    SELECT kind, owner, period, sum(cost) FROM (
        SELECT 'account_month' AS kind, account AS owner, farebox_month(admitted_at_ms) AS period, cost_picodollars AS cost
        FROM added
        UNION ALL SELECT 'credit', account, 0, cost_picodollars FROM added
        UNION ALL SELECT 'key_month', api_key, farebox_month(admitted_at_ms), cost_picodollars FROM added
    ) AS moved GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (kind, owner, period) DO UPDATE SET spent = spending.spent + excluded.spent;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_move_rollups AFTER INSERT ON entries REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_roll_up();

CREATE FUNCTION farebox_adjust() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO spending SELECT 'credit', account, 0, -sum(amount_picodollars) FROM added GROUP BY account ORDER BY account
    ON CONFLICT (kind, owner, period) DO UPDATE SET spent = spending.spent + excluded.spent;
    RETURN NULL;
END $$;
CREATE TRIGGER adjustments_move_spending AFTER INSERT ON adjustments REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_adjust();

-- Replicas that live, or did.
CREATE TABLE replicas (
    id         text PRIMARY KEY,
    seen_at_ms bigint NOT NULL -- by this database's clock
);

-- What a replica may spend of a ceiling without asking: granted, and not yet booked nor given back. For each ceiling
-- spent + the sum of what is leased is never above its limit.
CREATE TABLE leases (
    kind     text NOT NULL,
    owner    text NOT NULL,
    period   bigint NOT NULL,
    replica  text NOT NULL REFERENCES replicas (id),
    leased   numeric NOT NULL CHECK (leased >= 0),
    recalled boolean NOT NULL DEFAULT false, -- another replica is short: give back what is idle
    PRIMARY KEY (kind, owner, period, replica)
);
CREATE INDEX leases_by_replica ON leases (replica);
