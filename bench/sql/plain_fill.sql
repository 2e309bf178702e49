-- The same contacts as fill.sql has, into the plain outbox.
INSERT INTO plain_outbox (payload)
SELECT contact(n, :'kind')
FROM generate_series(1::bigint, :rows) AS n;
