-- Milliseconds from each insert's commit to the arrival of the request that had
-- it.  The stand-in names the first five contacts of a request, and no more are
-- in one here.
SELECT 1000 * extract(epoch FROM to_timestamp(
		(((:'stats'::jsonb ->> 'started_at_ms')::numeric + (r ->> 'at_ms')::numeric) / 1000)::float8)
	- pg_xact_commit_timestamp(u.xmin))
FROM jsonb_array_elements(:'requests'::jsonb) AS r
CROSS JOIN jsonb_array_elements_text(r -> 'external_ids') AS e(external_id)
JOIN users_watched u ON u.id = e.external_id::bigint
WHERE (r ->> 'status')::int = 200;
