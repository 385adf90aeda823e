-- What a key may do, and the secret that it had before, while that still holds.
ALTER TABLE api_keys
    ADD COLUMN scopes              text NOT NULL DEFAULT 'inference,usage',
    ADD COLUMN allowed_models      text,   -- patterns, one a line; NULL: every model
    ADD COLUMN allowed_ips         text,   -- addresses and networks, one a line; NULL: from anywhere
    ADD COLUMN concurrent_requests bigint CHECK (concurrent_requests >= 0), -- NULL: as its account
    ADD COLUMN previous_hash       bytea CHECK (length(previous_hash) = 32),
    ADD COLUMN overlap_until_ms    bigint, -- until when the previous secret holds
    -- What tells an HMAC-SHA-256 that was made with the secret, and is not the secret; NULL: the key signs no tokens.
    ADD COLUMN jwt_verifier          bytea CHECK (length(jwt_verifier) = 64),
    ADD COLUMN previous_jwt_verifier bytea CHECK (length(previous_jwt_verifier) = 64);
