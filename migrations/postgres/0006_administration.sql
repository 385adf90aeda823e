-- Who administers, what they changed, what owners ask for, and which engines are drained.

CREATE TABLE admin_tokens (
    id            text COLLATE "C" PRIMARY KEY,
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash          bytea NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256 of the secret, which is kept nowhere
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint,
    revoked_at_ms bigint
);

-- One row for each change. Never a secret, a hash or a prompt.
CREATE TABLE audit (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms        bigint NOT NULL,
    who          text COLLATE "C" NOT NULL, -- a token's id, or 'root'
    who_name     text NOT NULL, -- what it was called then
    action       text COLLATE "C" NOT NULL,
    target       text COLLATE "C" NOT NULL,
    state_before text,          -- JSON; NULL: there was nothing
    state_after  text,          -- JSON; NULL: there is nothing any more
    request_id   text COLLATE "C" NOT NULL
);

CREATE INDEX audit_by_target ON audit (target, number);
CREATE INDEX audit_by_who ON audit (who, number);

CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_append_only();

-- What owners ask for. A decision is written once.
CREATE TABLE limit_requests (
    id             text COLLATE "C" PRIMARY KEY,
    account        text COLLATE "C" NOT NULL REFERENCES accounts (id),
    api_key        text COLLATE "C" NOT NULL,
    rate_limit     bigint NOT NULL CHECK (rate_limit > 0),
    tpm_rate_limit bigint,
    reason         text NOT NULL,
    created_at_ms  bigint NOT NULL,
    state          text COLLATE "C" NOT NULL CHECK (state IN ('open', 'approved', 'declined')),
    decided_at_ms  bigint,
    decided_by     text COLLATE "C",
    note           text,
    granted        bigint -- what it became; NULL unless approved
);

CREATE INDEX limit_requests_by_account ON limit_requests (account, created_at_ms);
CREATE UNIQUE INDEX limit_requests_open ON limit_requests (account) WHERE state = 'open';

-- Engines that get no new request until they are restored.
CREATE TABLE drained_engines (
    engine      text COLLATE "C" PRIMARY KEY,
    since_ms    bigint NOT NULL,
    drained_by  text COLLATE "C" NOT NULL
);

CREATE TRIGGER admin_tokens_revise AFTER INSERT OR UPDATE OR DELETE ON admin_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_revise();
CREATE TRIGGER drained_engines_revise AFTER INSERT OR UPDATE OR DELETE ON drained_engines
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_revise();
