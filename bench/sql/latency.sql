-- Milliseconds from when the client had the answer to each commit to the arrival of
-- the request.  The stand-in names the first five contacts of a request, and no more
-- are in one here.
SELECT 1000 * (((:'stats'::jsonb ->> 'started_at_ms')::numeric + (r ->> 'at_ms')::numeric) / 1000
	- c.at)
FROM jsonb_array_elements(:'requests'::jsonb) AS r
CROSS JOIN jsonb_array_elements_text(r -> 'external_ids') AS e(external_id)
JOIN committed c ON c.id = e.external_id::bigint
WHERE (r ->> 'status')::int = 200;
