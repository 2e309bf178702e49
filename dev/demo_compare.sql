-- The demo's result: the outbox and the request table beside what the stand-in
-- counted (:stats), and how long the many took.
SELECT what, contacts_push, stand_in AS "stand-in"
FROM (
	SELECT 1 AS line, 'requests' AS what, count(*) AS contacts_push,
		(:'stats'::jsonb ->> 'requests')::bigint AS stand_in
	FROM contacts_push.request
	UNION ALL
	SELECT 2, 'contacts created', count(*) FILTER (WHERE status = 'created'),
		(:'stats'::jsonb ->> 'contacts')::bigint
	FROM contacts_push.outbox
	UNION ALL
	SELECT 3, 'contacts ' || status, count(*), NULL
	FROM contacts_push.outbox WHERE status <> 'created' GROUP BY status
) AS lines
ORDER BY line, what;

-- All rows of one statement have its transaction's enqueued_at.
SELECT count(*) AS "contacts of the one INSERT",
	round(extract(epoch FROM max(settled_at) - enqueued_at), 2) AS "seconds, with the delays",
	round(count(*) / extract(epoch FROM max(settled_at) - enqueued_at)) AS "contacts/s, with the delays"
FROM contacts_push.outbox
GROUP BY enqueued_at
ORDER BY count(*) DESC
LIMIT 1;
