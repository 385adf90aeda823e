-- Requests and tokens a minute that an account or a key has instead of what models.yaml says. NULL: what models.yaml says, and
-- for a key, no limit of its own.
CREATE TABLE rates (
    account             TEXT NOT NULL REFERENCES accounts (id),
    api_key             TEXT NOT NULL, -- '' is the account as a whole: a key's column cannot be NULL
    requests_per_minute INTEGER CHECK (requests_per_minute > 0),
    tokens_per_minute   INTEGER CHECK (tokens_per_minute > 0),
    PRIMARY KEY (account, api_key)
) STRICT, WITHOUT ROWID;
