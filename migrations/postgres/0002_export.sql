-- Events (entries and adjustments) that are still to be delivered to the receiver of models.yaml's `export`, and those
-- that it refused.
-- Every replica delivers. Each takes rows for a time, past those that another is taking (FOR UPDATE SKIP LOCKED); what a
-- replica took that died is free again when its time is over.

CREATE TABLE undelivered (
    id          bytea PRIMARY KEY CHECK (length(id) = 16), -- of an entry or of an adjustment; both sort by time
    taken_until timestamptz NOT NULL DEFAULT '-infinity' -- by this database's clock
);

CREATE TABLE export_refused (
    id            bytea PRIMARY KEY CHECK (length(id) = 16),
    status        bigint NOT NULL, -- the receiver's HTTP status; 0: it could not be put into the receiver's form
    reason        text NOT NULL,   -- what it said, the first of it
    refused_at_ms bigint NOT NULL
);

CREATE FUNCTION farebox_export() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO undelivered (id) SELECT id FROM added ORDER BY id ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_are_exported AFTER INSERT ON entries REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_export();
CREATE TRIGGER adjustments_are_exported AFTER INSERT ON adjustments REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION farebox_export();

-- Switched on by ENABLE TRIGGER, together with a row `export` in `settings`; off by DISABLE TRIGGER. A trigger that asks
-- a setting would cost every commit of those who export nothing.
ALTER TABLE entries DISABLE TRIGGER entries_are_exported;
ALTER TABLE adjustments DISABLE TRIGGER adjustments_are_exported;
