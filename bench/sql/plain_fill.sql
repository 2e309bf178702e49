-- The same contacts as fill.sql has, into the plain outbox.
INSERT INTO plain_outbox (payload)
SELECT jsonb_build_object(
	'external_id', n::text,
	'name', 'Given ' || n || ' Family',
	'email', 'given.' || n || '@example.com',
	'phonenumber', '+1 555 ' || lpad(n::text, 8, '0'))
FROM generate_series(1, :rows) AS n;
