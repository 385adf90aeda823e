-- By what a replica knows whether the database that answers is the ledger that it books in, and has all that it
-- confirmed: another database, an older backup and a standby that was behind all look like this one otherwise.

-- One ledger, for ever. Copies of the database and its backups have the same id; what is made anew has another.
CREATE TABLE identity (one boolean PRIMARY KEY CHECK (one), id text NOT NULL);
INSERT INTO identity VALUES (true, gen_random_uuid()::text);

-- How often each replica has booked. It moves in the transaction that books.
CREATE TABLE bookings (
    replica text COLLATE "C" PRIMARY KEY,
    number  bigint NOT NULL
) WITH (fillfactor = 80);

-- What was ever granted of a lease, and what was ever given back, since its row is there. A grant whose answer was lost is
-- found by the first, and giving back again what may have been given back changes nothing by the second.
ALTER TABLE leases
    ADD COLUMN granted  numeric NOT NULL DEFAULT 0,
    ADD COLUMN returned numeric NOT NULL DEFAULT 0;
