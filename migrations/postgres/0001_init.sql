-- What replicas of farebox share. The form of migrations/sqlite, with what several writers need besides.
-- Never content. Forward only: a migration that has been released is not edited; the next one follows it.
-- Times are milliseconds since 1970. Money is whole picodollars (1e-12 USD); sums of it are NUMERIC. What is compared or
-- sorted by is in the order of its bytes (COLLATE "C"), as in SQLite, whatever the database's own order is.

CREATE TABLE accounts (
    id                        text COLLATE "C" PRIMARY KEY,
    name                      text COLLATE "C" NOT NULL UNIQUE,
    created_at_ms             bigint NOT NULL,
    credit_limit_picodollars  bigint, -- what it may owe at most: 0 is prepaid, NULL is without a ceiling
    monthly_limit_picodollars bigint, -- what it may spend in a calendar month (UTC)
    closed_at_ms              bigint
);

CREATE TABLE api_keys (
    id                        text COLLATE "C" PRIMARY KEY,
    account                   text COLLATE "C" NOT NULL REFERENCES accounts (id),
    name                      text COLLATE "C" NOT NULL,
    hash                      bytea NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256 of the secret, kept nowhere
    created_at_ms             bigint NOT NULL,
    expires_at_ms             bigint,
    revoked_at_ms             bigint,
    monthly_limit_picodollars bigint
);

CREATE TABLE limits (
    account             text COLLATE "C" NOT NULL REFERENCES accounts (id),
    model               text COLLATE "C" NOT NULL, -- '' is the account as a whole
    concurrent_requests bigint NOT NULL CHECK (concurrent_requests BETWEEN 0 AND 4294967295),
    PRIMARY KEY (account, model)
);

CREATE TABLE settings (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

-- Moves with every change above, so that a replica sees by one number that it must read again.
CREATE TABLE revision (one boolean PRIMARY KEY CHECK (one), number bigint NOT NULL);
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
    model           text COLLATE "C" NOT NULL,
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
    account           text COLLATE "C" NOT NULL,
    api_key           text COLLATE "C" NOT NULL,
    model             text COLLATE "C" NOT NULL,
    engine            text COLLATE "C",
    endpoint          text COLLATE "C" NOT NULL,
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
    account            text COLLATE "C" NOT NULL,
    kind               text COLLATE "C" NOT NULL,   -- credit | refund | correction | write_off
    amount_picodollars bigint NOT NULL, -- what it adds to the balance; below zero it takes away
    request            bytea,           -- the entry that it is about
    price_version      bigint,          -- the price that the entry was rerated to
    reference          text COLLATE "C" NOT NULL,   -- the same one again books nothing
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

-- What was used, summed by the hour of admission. Tokens of an hour fit into 64 bits (`Usage::MAX_TOKENS`), costs need not.
CREATE TABLE usage_rollups (
    account           text COLLATE "C" NOT NULL,
    hour              bigint NOT NULL, -- since 1970
    api_key           text COLLATE "C" NOT NULL,
    model             text COLLATE "C" NOT NULL,
    endpoint          text COLLATE "C" NOT NULL,
    price_version     bigint NOT NULL,
    requests          bigint NOT NULL,
    prompt_tokens     bigint NOT NULL,
    cached_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    reasoning_tokens  bigint NOT NULL,
    cost              numeric NOT NULL,
    PRIMARY KEY (account, hour, api_key, model, endpoint, price_version)
) WITH (fillfactor = 80); -- room for the next version of a row on its own page, so that an update touches no index

-- The same by the day (UTC): sums over months of many accounts are read from a twentieth of the rows.
CREATE TABLE usage_days (
    account           text COLLATE "C" NOT NULL,
    day               bigint NOT NULL, -- since 1970
    api_key           text COLLATE "C" NOT NULL,
    model             text COLLATE "C" NOT NULL,
    endpoint          text COLLATE "C" NOT NULL,
    price_version     bigint NOT NULL,
    requests          bigint NOT NULL,
    prompt_tokens     bigint NOT NULL,
    cached_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    reasoning_tokens  bigint NOT NULL,
    cost              numeric NOT NULL,
    PRIMARY KEY (account, day, api_key, model, endpoint, price_version)
) WITH (fillfactor = 80);

-- What counts against each ceiling. It moves with entries and adjustments, by triggers. `kind` is 'credit' (the owner is
-- an account; spent is what it owes), 'account_month' or 'key_month' (`period`: months since 1970; spent is what was
-- admitted in it).
CREATE TABLE spending (
    kind   text COLLATE "C" NOT NULL,
    owner  text COLLATE "C" NOT NULL,
    period bigint NOT NULL, -- 0 for credit
    spent  numeric NOT NULL,
    PRIMARY KEY (kind, owner, period)
) WITH (fillfactor = 80);

-- Months since January 1970 in UTC, as domain `Month` counts them. One expression, so that PostgreSQL puts it in place.
CREATE FUNCTION farebox_month(at_ms bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ((extract(year FROM to_timestamp(least(at_ms, 253402300799999) / 1000) AT TIME ZONE 'UTC') - 1970) * 12
            + extract(month FROM to_timestamp(least(at_ms, 253402300799999) / 1000) AT TIME ZONE 'UTC') - 1)::bigint
$$;

-- Roll-ups and spending move with their entries, in the same statement and by whatever hand; entries that are left alone
-- because their id is there move nothing. In one order, so that two replicas wait for each other and never for ever:
-- whoever is here has its entries, takes roll-ups by their key, hours before days, and then spending by its key.
CREATE FUNCTION farebox_roll_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_rollups
    SELECT account, admitted_at_ms / 3600000, api_key, model, endpoint, price_version, count(*),
           sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), sum(cost_picodollars)
    FROM added GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (account, hour, api_key, model, endpoint, price_version) DO UPDATE SET
        requests          = usage_rollups.requests + excluded.requests,
        prompt_tokens     = usage_rollups.prompt_tokens + excluded.prompt_tokens,
        cached_tokens     = usage_rollups.cached_tokens + excluded.cached_tokens,
        completion_tokens = usage_rollups.completion_tokens + excluded.completion_tokens,
        reasoning_tokens  = usage_rollups.reasoning_tokens + excluded.reasoning_tokens,
        cost              = usage_rollups.cost + excluded.cost;
    INSERT INTO usage_days
    SELECT account, admitted_at_ms / 86400000, api_key, model, endpoint, price_version, count(*),
           sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), sum(cost_picodollars)
    FROM added GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (account, day, api_key, model, endpoint, price_version) DO UPDATE SET
        requests          = usage_days.requests + excluded.requests,
        prompt_tokens     = usage_days.prompt_tokens + excluded.prompt_tokens,
        cached_tokens     = usage_days.cached_tokens + excluded.cached_tokens,
        completion_tokens = usage_days.completion_tokens + excluded.completion_tokens,
        reasoning_tokens  = usage_days.reasoning_tokens + excluded.reasoning_tokens,
        cost              = usage_days.cost + excluded.cost;
    INSERT INTO spending
    WITH by_day AS ( -- a month begins with a day, so a day is in one month
        SELECT account, api_key, admitted_at_ms / 86400000 AS day, sum(cost_picodollars) AS cost FROM added GROUP BY 1, 2, 3
    ), moved AS (
        SELECT account, api_key, farebox_month(day * 86400000) AS month, sum(cost) AS cost FROM by_day GROUP BY 1, 2, 3
    )
    SELECT 'account_month' AS kind, account AS owner, month AS period, sum(cost) FROM moved GROUP BY 2, 3
    UNION ALL SELECT 'credit', account, 0, sum(cost) FROM moved GROUP BY 2
    UNION ALL SELECT 'key_month', api_key, month, sum(cost) FROM moved GROUP BY 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (kind, owner, period) DO UPDATE SET spent = spending.spent + excluded.spent;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_move_rollups AFTER INSERT ON entries REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_roll_up();

CREATE FUNCTION farebox_adjust() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO spending
    SELECT 'credit', account, 0, -sum(amount_picodollars) FROM added GROUP BY 2 ORDER BY 2
    ON CONFLICT (kind, owner, period) DO UPDATE SET spent = spending.spent + excluded.spent;
    RETURN NULL;
END $$;
CREATE TRIGGER adjustments_move_spending AFTER INSERT ON adjustments REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_adjust();

-- Replicas that live, or did.
-- One clock for all replicas: this database's.
CREATE FUNCTION farebox_now_ms() RETURNS bigint LANGUAGE sql AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

CREATE TABLE replicas (
    id         text COLLATE "C" PRIMARY KEY,
    seen_at_ms bigint NOT NULL -- by this database's clock
);

-- What a replica may spend of a ceiling without asking: granted, and not yet booked nor given back. For each ceiling
-- spent + the sum of what is leased is never above its limit.
CREATE TABLE leases (
    kind     text COLLATE "C" NOT NULL,
    owner    text COLLATE "C" NOT NULL,
    period   bigint NOT NULL,
    replica  text COLLATE "C" NOT NULL REFERENCES replicas (id),
    leased   numeric NOT NULL CHECK (leased >= 0),
    recalled boolean NOT NULL DEFAULT false, -- another replica is short: give back what is idle
    PRIMARY KEY (kind, owner, period, replica)
);
CREATE INDEX leases_by_replica ON leases (replica);
