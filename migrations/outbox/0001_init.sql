-- What a replica has settled and the ledger that replicas share does not have yet. Never content.
-- Forward only: a migration that has been released is not edited; the next one follows it.

CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they are shipped; a number is never given twice
    id   BLOB NOT NULL UNIQUE,              -- the request's
    body TEXT NOT NULL                      -- the settlement (JSON)
) STRICT;

-- What the ledger refuses for itself: no later attempt would book it, so somebody must look at it.
CREATE TABLE refused (
    seq           INTEGER PRIMARY KEY,
    id            BLOB NOT NULL,
    body          TEXT NOT NULL,
    reason        TEXT NOT NULL,
    refused_at_ms INTEGER NOT NULL
) STRICT;

-- What a stream that is open has used: the settlement (JSON) that it would be if farebox ended now.
CREATE TABLE checkpoints (
    id    BLOB PRIMARY KEY,
    entry TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER outbox_ends_checkpoints AFTER INSERT ON outbox
BEGIN DELETE FROM checkpoints WHERE id = NEW.id; END;
