-- What a key may do, and the secret that it had before, while that still holds.
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT 'inference,usage';
ALTER TABLE api_keys ADD COLUMN allowed_models TEXT;         -- patterns, one a line; NULL: every model
ALTER TABLE api_keys ADD COLUMN allowed_ips TEXT;            -- addresses and networks, one a line; NULL: from anywhere
ALTER TABLE api_keys ADD COLUMN concurrent_requests INTEGER CHECK (concurrent_requests >= 0); -- NULL: as its account
ALTER TABLE api_keys ADD COLUMN previous_hash BLOB CHECK (length(previous_hash) = 32);
ALTER TABLE api_keys ADD COLUMN overlap_until_ms INTEGER;    -- until when the previous secret holds
-- What tells an HMAC-SHA-256 that was made with the secret, and is not the secret; NULL: the key signs no tokens.
ALTER TABLE api_keys ADD COLUMN jwt_verifier BLOB CHECK (length(jwt_verifier) = 64);
ALTER TABLE api_keys ADD COLUMN previous_jwt_verifier BLOB CHECK (length(previous_jwt_verifier) = 64);
