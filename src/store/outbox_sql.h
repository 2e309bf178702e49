/*
 * outbox_sql.h
 *		The text of every statement of outbox.c, which alone includes it.
 *
 * Tables are qualified.  The worker's search_path is pg_catalog, so its statements
 * need no more; what runs in anybody's session (OUTBOX_FIND_MISSING) is qualified down
 * to the operators.
 *
 * Whatever changes a row locks it first with SKIP LOCKED: waiting for somebody's
 * row lock while holding others could stall or deadlock the worker.  What is left
 * out that way is tried again.
 *
 * No plan may depend on statistics, which in a queue are always those of another
 * hour: the worker's statements can be planned in one way only.  What is looked up for
 * each of many stands in a LATERAL sub-select that OFFSET 0 or FOR UPDATE keeps apart,
 * so the outer side comes first; a condition that the wrong index could serve stands
 * outside of it; rows are updated by the ctid under which the same statement has locked
 * them; and what the planner could choose besides is switched off for the session
 * (settle_session() in session.c).
 */
#ifndef CONTACTS_PUSH_OUTBOX_SQL_H
#define CONTACTS_PUSH_OUTBOX_SQL_H

/* Name under which rows on their way in are visible to OUTBOX_FIND_MISSING. */
#define ROWS_NAME "contacts_push_rows"

/* Rows of source v and, where its status is that, the row of v.seq as o. */
#define LOOKED_UP(source, condition) \
	source " CROSS JOIN LATERAL (SELECT p.* FROM contacts_push.outbox p" \
	" WHERE p.seq = v.seq AND " condition " OFFSET 0) AS o"

/* To update c: the row of chatbot $1, if it has the condition and nobody holds it. */
#define LOCKED_CHATBOT(condition) \
	"(SELECT k.ctid FROM contacts_push.chatbot k WHERE k.chatbot_id = $1" condition \
	" FOR NO KEY UPDATE SKIP LOCKED) AS l WHERE c.ctid = l.ctid"

/*
 * Rows of ROWS_NAME whose contact has no intent for chatbot $1 that counts.  None does
 * when a later one withdraws or has deleted the contact, or another contact has got its
 * key's (as the id tells, where keys were swapped); nor, with $2, one that has not been
 * created, unless it is the newest and says the same.  OFFSET 0 has it looked up row by row,
 * which the statistics of a queue would talk the planner out of.
 */
#define IS_THERE(o) o ".status OPERATOR(pg_catalog.=) ANY ('{created,present,updated}')"
#define MISSING_ROWS \
	" FROM " ROWS_NAME " r" \
	" WHERE pg_catalog.octet_length(r.external_id) OPERATOR(pg_catalog.>=) 1" \
	" AND pg_catalog.octet_length(r.external_id) OPERATOR(pg_catalog.<=) 1024" \
	" AND pg_catalog.jsonb_typeof(r.contact) OPERATOR(pg_catalog.=) 'object'" \
	" AND NOT EXISTS (SELECT FROM contacts_push.outbox o" \
	" WHERE o.chatbot_id OPERATOR(pg_catalog.=) $1" \
	" AND o.external_id OPERATOR(pg_catalog.=) r.external_id" \
	" AND (" IS_THERE("o") " OR o.status OPERATOR(pg_catalog.=) ANY ('{pending,conflict,rejected,failed}')" \
	" AND NOT (o.status OPERATOR(pg_catalog.=) 'pending' AND o.contact IS NULL)" \
	" AND (NOT $2 OR o.contact OPERATOR(pg_catalog.=) r.contact))" \
	" AND NOT EXISTS (SELECT FROM contacts_push.outbox w" \
	" WHERE w.chatbot_id OPERATOR(pg_catalog.=) $1" \
	" AND w.external_id OPERATOR(pg_catalog.=) r.external_id" \
	" AND w.seq OPERATOR(pg_catalog.>) o.seq" \
	" AND (w.status OPERATOR(pg_catalog.=) 'pending' AND w.contact IS NULL" \
	" OR w.status OPERATOR(pg_catalog.=) 'deleted'" \
	" OR $2 AND NOT " IS_THERE("o") \
	" AND w.status OPERATOR(pg_catalog.=) ANY ('{pending,conflict,rejected,failed}')) OFFSET 0)" \
	" AND NOT EXISTS (SELECT FROM contacts_push.outbox k" \
	" WHERE k.chatbot_id OPERATOR(pg_catalog.=) $1" \
	" AND k.previous_external_id OPERATOR(pg_catalog.=) r.external_id" \
	" AND k.seq OPERATOR(pg_catalog.>) o.seq AND k.status OPERATOR(pg_catalog.=) 'updated'" \
	" AND (k.contact_id OPERATOR(pg_catalog.=) o.contact_id) IS NOT FALSE OFFSET 0) OFFSET 0)"

/* The settled rows of contact u that say whether Chatbase has it. */
#define TELLING_ROWS \
	"(SELECT p.* FROM contacts_push.outbox p" \
	" WHERE p.chatbot_id = u.chatbot_id AND p.external_id = u.external_id" \
	" AND p.status = ANY ('{created,present,updated,deleted}') OFFSET 0)"

/*
 * c.chatbot_id = g.chatbot_id, in a form that the planner can only look c up by.  Not by
 * ctid: what is added to a row must not be lost when it has changed meanwhile.
 */
#define IS_CHATBOT(c, g) c ".chatbot_id = ANY (ARRAY[" g ".chatbot_id])"

/* What of request q is still pending may have been created, whatever its answer was. */
#define LEAVES_OPEN "q.outcome = ANY ('{created,updated,deleted,partial,server,interrupted}')"

/* The rows o of request q, or of another chatbot, that are pending. */
#define CARRIED \
	"unnest(q.seqs) AS r(span) CROSS JOIN LATERAL (" \
	"SELECT p.seq, p.chatbot_id, p.enqueued_at, p.unconfirmed FROM contacts_push.outbox p" \
	" WHERE p.seq >= lower(r.span) AND p.seq < upper(r.span)" \
	" AND p.status = 'pending' OFFSET 0) AS o"

/*
 * A counter of contacts_push.chatbot with what is added, within the limits of the domain,
 * whatever stands there already.
 */
#define ADDED(column, more) \
	column " = least(greatest(c." column " + " more ", -1000000000000000), 1000000000000000)"

static const struct
{
	const char *sql;
	int			nargs;
	Oid			types[8];
}			statements[OUTBOX_STATEMENTS] =
{
	/* contacts of which the outbox has no intent for chatbot $1 that counts (see MISSING_ROWS) */
	[OUTBOX_FIND_MISSING] = {
		"SELECT r.external_id, r.contact" MISSING_ROWS,
	2, {TEXTOID, BOOLOID}},

	/* the first $4 pending rows of chatbot $1 that are due, behind those of ($2, $3) */
	[OUTBOX_FIND_DUE] = {
		"SELECT o.seq, o.next_attempt_at FROM contacts_push.outbox o"
		" WHERE o.next_attempt_at IS NOT NULL AND o.chatbot_id = $1"
		" AND (o.next_attempt_at, o.seq) > ($2, $3)"
		" AND o.next_attempt_at <= now() AND o.status = 'pending'"
		" ORDER BY o.chatbot_id, o.next_attempt_at, o.seq LIMIT $4",
	4, {TEXTOID, TIMESTAMPTZOID, INT8OID, INT8OID}},

	/* where pending rows could be when that was last written down */
	[OUTBOX_UNSETTLED] = {
		"SELECT coalesce(lower(r.span), 1), coalesce(upper(r.span) - 1, 9223372036854775807)"
		" FROM contacts_push_internal.worker_state w CROSS JOIN LATERAL unnest(w.unsettled) AS r(span)",
	0},

	/* whether the chatbots $1 have anything pending, where OUTBOX_POSITION says that it can be */
	[OUTBOX_ANY_PENDING] = {
		"SELECT EXISTS (SELECT FROM contacts_push_internal.worker_state w"
		" CROSS JOIN LATERAL unnest(w.unsettled) AS r(span)"
		" CROSS JOIN LATERAL (SELECT p.chatbot_id FROM contacts_push.outbox p"
		" WHERE p.seq >= coalesce(lower(r.span), 1)"
		" AND p.seq < coalesce(upper(r.span), 9223372036854775807)"
		" AND p.status = 'pending' AND p.next_attempt_at IS NULL OFFSET 0) AS o"
		" WHERE o.chatbot_id = ANY ($1) OFFSET 0)"
		" OR EXISTS (SELECT FROM (SELECT p.chatbot_id FROM contacts_push.outbox p"
		" WHERE p.next_attempt_at IS NOT NULL AND p.status = 'pending' OFFSET 0) AS o"
		" WHERE o.chatbot_id = ANY ($1) OFFSET 0)",
	1, {TEXTARRAYOID}},

	/*
	 * all rows of the contacts ($1[i], $2[i]) that count, in order; of those withdrawn the ones
	 * that Chatbase may have; and those of other contacts that take the key away, or have
	 */
	[OUTBOX_INTENTS] = {
		"SELECT k.place::int8, o.seq, o.status::text, o.contact IS NULL, o.unconfirmed,"
		" coalesce(o.relation, 0), o.http_status IS NULL, o.enqueued_at,"
		" CASE WHEN o.is_other THEN o.external_id ELSE o.previous_external_id END, o.is_other,"
		" o.contact_id, o.contact_hash, o.contact_members"
		" FROM unnest($1, $2) WITH ORDINALITY AS k(chatbot_id, external_id, place)"
		" CROSS JOIN LATERAL (SELECT p.*, false AS is_other FROM contacts_push.outbox p"
		" WHERE p.chatbot_id = k.chatbot_id AND p.external_id = k.external_id"
		" AND (p.status <> ALL ('{superseded,skipped,withdrawn}')"
		" OR p.status = 'withdrawn' AND p.unconfirmed)"
		" UNION ALL SELECT p.*, true FROM contacts_push.outbox p"
		" WHERE p.chatbot_id = k.chatbot_id AND p.previous_external_id = k.external_id"
		" AND p.external_id <> k.external_id AND p.status = ANY ('{pending,updated}') OFFSET 0) AS o"
		" ORDER BY k.place, o.seq",
	2, {TEXTARRAYOID, TEXTARRAYOID}},

	[OUTBOX_EMAIL_OWNER] = {
		"SELECT external_id FROM contacts_push.outbox WHERE seq = $1",
	1, {INT8OID}},

	/*
	 * which of $1 are pending, and their contacts not to be withdrawn by the newest intent, or if
	 * they are withdrawals, still to be
	 */
	[OUTBOX_STILL_TO_SEND] = {
		"SELECT o.seq FROM " LOOKED_UP("unnest($1) AS v(seq)", "p.status = 'pending'"
			" AND coalesce((SELECT max(w.seq) FILTER (WHERE w.contact IS NULL)"
			" > max(w.seq) FILTER (WHERE w.contact IS NOT NULL) FROM contacts_push.outbox w"
			" WHERE w.chatbot_id = p.chatbot_id AND w.external_id = p.external_id"
			" AND w.status = 'pending'), p.contact IS NULL) = (p.contact IS NULL)"),
	1, {INT8ARRAYOID}},

	/* the name of table $1 while it is there and watched for chatbot $2 */
	[OUTBOX_SOURCE_NAME] = {
		"SELECT n.name FROM contacts_push_internal.source_name($1, $2) AS n(name)"
		" WHERE n.name IS NOT NULL",
	2, {OIDOID, TEXTOID}},

	/* requests to chatbots $1 with $2 contacts, seqs $3, that ask for $4, are about to leave */
	[OUTBOX_REQUEST_BEGIN] = {
		"INSERT INTO contacts_push.request (chatbot_id, contacts, seqs, call)"
		" SELECT v.chatbot_id, v.contacts, v.seqs::int8multirange, v.call"
		" FROM unnest($1, $2, $3, $4) AS v(chatbot_id, contacts, seqs, call) RETURNING id",
	4, {TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}},

	/*
	 * requests $1 are over, where $2 is true, and have been answered with status $3 (0: none)
	 * as outcome $4 (NULL: that stands there), message $5, after $6 ms (-1: not known), with the API's number $7;
	 * returns those that are locked
	 */
	[OUTBOX_REQUEST_FINISH] = {
		"WITH written AS (UPDATE contacts_push.request q SET"
		" finished_at = CASE WHEN v.over THEN clock_timestamp() END,"
		" http_status = coalesce(nullif(v.http_status, 0), q.http_status),"
		" outcome = coalesce(v.outcome, q.outcome), message = coalesce(v.message, q.message),"
		" duration_ms = coalesce(nullif(v.duration_ms, -1), q.duration_ms),"
		" request_id = coalesce(v.request_id, q.request_id)"
		" FROM unnest($1, $2, $3, $4, $5, $6, $7)"
		" AS v(id, over, http_status, outcome, message, duration_ms, request_id)"
		" CROSS JOIN LATERAL (SELECT l.ctid FROM contacts_push.request l"
		" WHERE l.id = v.id FOR NO KEY UPDATE SKIP LOCKED) AS l"
		" WHERE q.ctid = l.ctid RETURNING q.id)"
		" SELECT v.id FROM unnest($1) AS v(id)"
		" WHERE v.id <> ALL (ARRAY(SELECT w.id FROM written w))"
		" AND EXISTS (SELECT FROM contacts_push.request q WHERE q.id = v.id OFFSET 0)",
	7, {INT8ARRAYOID, BOOLARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID}},

	/*
	 * requests that an earlier worker left, their rows that are pending and may have been
	 * applied (what only reads changes nothing), whether there is an answer, the chatbot, and whether the row tells that already;
	 * a row that is younger than the request has a number that was another's (TRUNCATE)
	 */
	[OUTBOX_REQUESTS_UNFINISHED] = {
		"SELECT q.id, c.seq, q.outcome IS NOT NULL, q.chatbot_id, c.unconfirmed FROM contacts_push.request q"
		" LEFT JOIN LATERAL (SELECT o.seq, o.unconfirmed FROM " CARRIED
		" WHERE q.call <> 'read' AND o.chatbot_id = q.chatbot_id AND o.enqueued_at <= q.started_at"
		" AND (q.outcome IS NULL OR " LEAVES_OPEN ") OFFSET 0) AS c ON true"
		" WHERE q.finished_at IS NULL ORDER BY q.id, c.seq",
	0},

	/* at most $2 finished requests older than $1 seconds, the oldest first */
	[OUTBOX_REQUEST_PRUNE] = {
		"DELETE FROM contacts_push.request WHERE id = ANY (ARRAY("
		"SELECT q.id FROM contacts_push.request q"
		" WHERE q.finished_at <"
		" now() - make_interval(secs => $1)"
		" AND q.id <= (SELECT least(f.id, 9223372036854775807 - $2) + $2 FROM contacts_push.request f"
		" WHERE f.finished_at IS NOT NULL ORDER BY f.id LIMIT 1)"
		" ORDER BY q.id LIMIT $2 FOR UPDATE SKIP LOCKED))",
	2, {FLOAT8OID, INT8OID}},

	/* rows that were not sent, settled more than $1 seconds ago, among seqs $2 to $3 */
	[OUTBOX_UNSENT_PRUNE] = {
		"DELETE FROM contacts_push.outbox WHERE seq = ANY (ARRAY("
		"SELECT o.seq FROM contacts_push.outbox o"
		" WHERE o.seq >= $2 AND o.seq <= $3"
		" AND o.status = ANY ('{superseded,skipped,withdrawn}')"
		" AND o.settled_at <"
		" now() - make_interval(secs => $1)"
		" FOR UPDATE SKIP LOCKED))",
	3, {FLOAT8OID, INT8OID, INT8OID}},

	/*
	 * rows that do not count any more, since those among seqs $2 to $3 were updated, deleted or given
	 * another key, all of it more than $1 seconds ago.  What tells whose the contact is stays: the
	 * first one that had it since it was deleted, if that is of another table.  What ends one stays
	 * as long as anything is left of that.
	 */
	[OUTBOX_CHANGED_PRUNE] = {
		"DELETE FROM contacts_push.outbox WHERE seq = ANY (ARRAY("
		"SELECT l.seq FROM (SELECT c.* FROM contacts_push.outbox c"
		" WHERE c.seq >= $2 AND c.seq <= $3 AND c.status = ANY ('{updated,deleted}')"
		" AND c.settled_at < now() - make_interval(secs => $1) OFFSET 0) AS c"
		" CROSS JOIN LATERAL (VALUES (c.chatbot_id, c.external_id, c.status = 'deleted', NULL),"
		" (c.chatbot_id, nullif(CASE WHEN c.status = 'updated' THEN c.previous_external_id END,"
		" c.external_id), true, c.contact_id)) AS u(chatbot_id, external_id, has_gone, contact_id)"
		" CROSS JOIN LATERAL (SELECT min(f.seq) AS seq FROM " TELLING_ROWS " AS f"
		" WHERE f.seq < c.seq AND f.status <> 'deleted'"
		" AND f.seq > coalesce((SELECT max(d.seq) FROM " TELLING_ROWS " AS d"
		" WHERE d.seq < c.seq AND d.status = 'deleted'), 0)) AS f"
		" CROSS JOIN LATERAL (SELECT o.* FROM " TELLING_ROWS " AS o"
		" WHERE o.seq < c.seq AND o.settled_at < now() - make_interval(secs => $1)"
		" AND (u.has_gone OR o.seq IS DISTINCT FROM f.seq"
		" OR o.relation IS NOT DISTINCT FROM c.relation)"
		" AND (o.contact_id = u.contact_id) IS NOT FALSE"
		" AND (o.status <> 'deleted' OR NOT EXISTS (SELECT FROM " TELLING_ROWS " AS e"
		" WHERE e.seq < o.seq OFFSET 0)) OFFSET 0) AS o"
		" CROSS JOIN LATERAL (SELECT p.seq FROM contacts_push.outbox p WHERE p.seq = o.seq"
		" FOR UPDATE SKIP LOCKED) AS l"
		" WHERE o.status <> 'updated' OR NOT EXISTS (SELECT FROM"
		" (SELECT p.seq, p.status FROM contacts_push.outbox p WHERE p.chatbot_id = o.chatbot_id"
		" AND p.external_id = o.previous_external_id OFFSET 0) AS e"
		" WHERE e.seq < o.seq AND e.status <> ALL ('{superseded,skipped,withdrawn}') OFFSET 0)))",
	3, {FLOAT8OID, INT8OID, INT8OID}},

	/* rows for the chatbots $1 that have none; those of them that have answered before */
	[OUTBOX_CHATBOT_ADD] = {
		"WITH added AS (INSERT INTO contacts_push.chatbot (chatbot_id)"
		" SELECT v.chatbot_id FROM unnest($1) AS v(chatbot_id) ON CONFLICT DO NOTHING)"
		" SELECT p.chatbot_id FROM unnest($1) AS v(chatbot_id)"
		" CROSS JOIN LATERAL (SELECT k.chatbot_id FROM contacts_push.chatbot k"
		" WHERE k.chatbot_id = v.chatbot_id AND (k.created > 0 OR k.present > 0"
		" OR k.conflict > 0 OR k.rejected > 0) OFFSET 0) AS p",
	1, {TEXTARRAYOID}},


	/* pauses $1 for $2 ms (NULL: no more) for the reason $3, of kind $4, but not over an
	 * operator's */
	[OUTBOX_CHATBOT_PAUSE] = {
		"UPDATE contacts_push.chatbot c SET paused_until = clock_timestamp()"
		" + make_interval(secs => $2::float8"
		" / 1000), pause_reason = $3, pause_kind = $4"
		" FROM " LOCKED_CHATBOT(" AND k.paused_until IS DISTINCT FROM 'infinity'"),
	4, {TEXTOID, INT8OID, TEXTOID, TEXTOID}},

	/* chatbot $1 has failed with $3 and is tried again in $2 ms; NULL: it answers */
	[OUTBOX_CHATBOT_BACKOFF] = {
		"UPDATE contacts_push.chatbot c SET backoff_until = clock_timestamp()"
		" + make_interval(secs => $2::float8 / 1000), backoff_reason = $3"
		" FROM (SELECT l.chatbot_id FROM contacts_push.chatbot l"
		" WHERE l.chatbot_id = $1 FOR NO KEY UPDATE SKIP LOCKED) AS v"
		" WHERE c.chatbot_id = v.chatbot_id",
	3, {TEXTOID, INT8OID, TEXTOID}},

	/* an earlier worker's back-offs are over */
	[OUTBOX_BACKOFFS_FORGET] = {
		"UPDATE contacts_push.chatbot c SET backoff_until = NULL, backoff_reason = NULL"
		" FROM (SELECT l.chatbot_id FROM contacts_push.chatbot l"
		" WHERE l.backoff_until IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED) AS v"
		" WHERE c.chatbot_id = v.chatbot_id",
	0},

	/* $2 are the attributes that chatbot $1 does not know, as far as was seen */
	[OUTBOX_CHATBOT_STRIPPED] = {
		"UPDATE contacts_push.chatbot c SET stripped_attributes = $2"
		" FROM " LOCKED_CHATBOT(""),
	2, {TEXTOID, TEXTARRAYOID}},

	/* $2 deletions of chatbot $1 are held; 0: none */
	[OUTBOX_CHATBOT_HELD] = {
		"UPDATE contacts_push.chatbot c SET held_deletes = nullif($2, 0)"
		" FROM " LOCKED_CHATBOT(""),
	2, {TEXTOID, INT8OID}},

	/* whether changes and deletions of chatbots $1 are pushed, up to which seq deletions are let
	 * through, and how many were held */
	[OUTBOX_SWITCHES] = {
		"SELECT k.chatbot_id, k.updates, k.deletes, k.released_deletes, k.held_deletes"
		" FROM unnest($1) AS v(chatbot_id) CROSS JOIN LATERAL (SELECT c.* FROM contacts_push.chatbot c"
		" WHERE c.chatbot_id = v.chatbot_id OFFSET 0) AS k",
	1, {TEXTARRAYOID}},

	/* the numbers of chatbot $1's members */
	[OUTBOX_MEMBERS] = {
		"SELECT m.number, m.name FROM contacts_push_internal.member m WHERE m.chatbot_id = $1",
	1, {TEXTOID}},

	/* $2 is the number of member $3 of chatbot $1 */
	[OUTBOX_MEMBER_ADD] = {
		"INSERT INTO contacts_push_internal.member (chatbot_id, number, name) VALUES ($1, $2, $3)"
		" ON CONFLICT DO NOTHING",
	3, {TEXTOID, INT4OID, TEXTOID}},

	/*
	 * What others may have changed (see enum OutboxStateColumn).  Of the lineage: whether it
	 * is that of cluster $1, timeline $2 and database $3, the last number drawn, and since
	 * when; a restored dump brings another row of it.  Of each chatbot that has a pause, and
	 * of those among $4: the milliseconds that are left of it, however few (-1: for ever;
	 * NULL: it has none), reason and kind.  A pause that is over by the wall clock is told,
	 * too: that clock may have been set.  Of the chatbots with rows that wait for another
	 * attempt, found by hopping through the index: whether some of them are due, and
	 * milliseconds until the next one is.
	 */
	[OUTBOX_STATE] = {
		"WITH RECURSIVE hop(chatbot_id, first) AS ("
		"(SELECT o.chatbot_id, o.next_attempt_at FROM contacts_push.outbox o"
		" WHERE o.next_attempt_at IS NOT NULL"
		" ORDER BY o.chatbot_id, o.next_attempt_at, o.seq LIMIT 1)"
		" UNION ALL SELECT n.chatbot_id, n.next_attempt_at FROM hop h CROSS JOIN LATERAL ("
		"SELECT o.chatbot_id, o.next_attempt_at FROM contacts_push.outbox o"
		" WHERE o.next_attempt_at IS NOT NULL AND o.chatbot_id > h.chatbot_id"
		" ORDER BY o.chatbot_id, o.next_attempt_at, o.seq LIMIT 1) AS n)"
		" SELECT 0, count(*) = 1"
		" AND bool_and((l.system_identifier, l.timeline, l.database) = ($1, $2, $3)),"
		" pg_sequence_last_value('contacts_push.outbox_seq_seq'::regclass),"
		" NULL::text, NULL::text, NULL::text, CASE WHEN count(*) = 1 AND bool_and("
		"l.system_identifier IS NULL OR (l.system_identifier, l.timeline, l.database) = ($1, $2, $3))"
		" THEN max(l.since) END FROM contacts_push_internal.lineage l"
		" UNION ALL SELECT 1, c.paused_until IS NULL, CASE WHEN c.paused_until = 'infinity' THEN -1"
		" WHEN c.paused_until <= clock_timestamp() THEN 0 WHEN c.paused_until IS NOT NULL THEN"
		" least(1e15, ceil(EXTRACT(epoch FROM c.paused_until - clock_timestamp()) * 1000))"
		" END::int8, c.chatbot_id, c.pause_reason, c.pause_kind, NULL FROM ("
		"SELECT k.* FROM contacts_push.chatbot k WHERE k.paused_until IS NOT NULL"
		" UNION ALL SELECT n.* FROM unnest($4) AS v(chatbot_id)"
		" CROSS JOIN LATERAL (SELECT k.* FROM contacts_push.chatbot k"
		" WHERE k.chatbot_id = v.chatbot_id AND k.paused_until IS NULL OFFSET 0) AS n) AS c"
		" UNION ALL SELECT 2, h.first <= now(), (SELECT"
		" least(1e12, ceil(EXTRACT(epoch FROM o.next_attempt_at - now()) * 1000))::int8"
		" FROM contacts_push.outbox o WHERE o.next_attempt_at IS NOT NULL"
		" AND o.chatbot_id = h.chatbot_id AND o.next_attempt_at > now()"
		" AND o.next_attempt_at < 'infinity'"
		" ORDER BY o.chatbot_id, o.next_attempt_at, o.seq LIMIT 1),"
		" h.chatbot_id, NULL, NULL, NULL FROM hop h",
	4, {INT8OID, INT4OID, OIDOID, TEXTARRAYOID}},

	/* it is worked off there since $4, unless somebody holds a row that says otherwise */
	[OUTBOX_LINEAGE_WRITE] = {
		"WITH held AS (SELECT l.ctid FROM contacts_push_internal.lineage l FOR UPDATE SKIP LOCKED),"
		" free AS (SELECT FROM held"
		" HAVING count(*) = (SELECT count(*) FROM contacts_push_internal.lineage)),"
		" gone AS (DELETE FROM contacts_push_internal.lineage l USING held h"
		" WHERE l.ctid = h.ctid AND EXISTS (SELECT FROM free))"
		" INSERT INTO contacts_push_internal.lineage SELECT $1, $2, $3, $4 FROM free",
	4, {INT8OID, INT4OID, OIDOID, TIMESTAMPTZOID}},

	/* the row that OUTBOX_POSITION writes, if somebody has deleted it */
	[OUTBOX_STATE_ADD] = {
		"INSERT INTO contacts_push_internal.worker_state (unsettled) SELECT '{[1,)}'"
		" WHERE NOT EXISTS (SELECT FROM contacts_push_internal.worker_state)",
	0},

	/* pending rows that have no other attempt coming are within $1 */
	[OUTBOX_POSITION] = {
		"UPDATE contacts_push_internal.worker_state SET unsettled = $1::int8multirange"
		" WHERE ctid = (SELECT l.ctid FROM contacts_push_internal.worker_state l"
		" FOR NO KEY UPDATE SKIP LOCKED)",
	1, {TEXTOID}},

	/* counts what enqueuers have appended in the chatbots' rows that nobody holds */
	[OUTBOX_FOLD_FAILURES] = {
		"WITH held AS (SELECT f.chatbot_id FROM ("
		"SELECT DISTINCT u.chatbot_id FROM contacts_push_internal.enqueue_failure u"
		" WHERE NOT u.counted) AS f"
		" CROSS JOIN LATERAL (SELECT FROM contacts_push.chatbot k"
		" WHERE k.chatbot_id = f.chatbot_id FOR NO KEY UPDATE SKIP LOCKED) AS c),"
		" free AS (SELECT e.ctid FROM held h"
		" CROSS JOIN LATERAL (SELECT f.ctid FROM contacts_push_internal.enqueue_failure f"
		" WHERE f.chatbot_id = h.chatbot_id AND NOT f.counted FOR UPDATE SKIP LOCKED) AS e),"
		" found AS (UPDATE contacts_push_internal.enqueue_failure f SET counted = true FROM free e"
		" WHERE f.ctid = e.ctid RETURNING f.chatbot_id, f.rows)"
		" UPDATE contacts_push.chatbot c SET " ADDED("enqueue_failures", "g.rows")
		" FROM (SELECT chatbot_id, sum(rows) AS rows FROM found GROUP BY chatbot_id) AS g"
		" WHERE " IS_CHATBOT("c", "g"),
	0},

	/* at most $2 of them that are counted and older than $1 seconds */
	[OUTBOX_FAILURE_PRUNE] = {
		"DELETE FROM contacts_push_internal.enqueue_failure WHERE ctid = ANY (ARRAY("
		"SELECT f.ctid FROM contacts_push_internal.enqueue_failure f"
		" WHERE f.counted AND f.failed_at < now() - make_interval(secs => $1)"
		" LIMIT $2 FOR UPDATE SKIP LOCKED))",
	2, {FLOAT8OID, INT8OID}},

	/* $2 more created, $3 present, $4 updated, $5 deleted, $6 conflict, $7 rejected, $8 failed in chatbots $1 */
	[OUTBOX_TALLY] = {
		"INSERT INTO contacts_push_internal.tally"
		" (chatbot_id, created, present, updated, deleted, conflict, rejected, failed)"
		" SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)",
	8, {TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID}},

	/* adds that to the chatbots' rows that nobody holds */
	[OUTBOX_FOLD_TALLY] = {
		"WITH free AS (SELECT t.ctid FROM contacts_push_internal.tally t"
		" CROSS JOIN LATERAL (SELECT FROM contacts_push.chatbot k"
		" WHERE k.chatbot_id = t.chatbot_id FOR NO KEY UPDATE SKIP LOCKED) AS c"
		" FOR UPDATE OF t SKIP LOCKED),"
		" gone AS (DELETE FROM contacts_push_internal.tally t USING free e"
		" WHERE t.ctid = e.ctid RETURNING t.*)"
		" UPDATE contacts_push.chatbot c SET " ADDED("created", "g.created")
		", " ADDED("present", "g.present")
		", " ADDED("updated", "g.updated") ", " ADDED("deleted", "g.deleted") ", " ADDED("conflict", "g.conflict")
		", " ADDED("rejected", "g.rejected") ", " ADDED("failed", "g.failed")
		" FROM (SELECT chatbot_id, sum(created) AS created, sum(present) AS present,"
		" sum(updated) AS updated, sum(deleted) AS deleted,"
		" sum(conflict) AS conflict, sum(rejected) AS rejected, sum(failed) AS failed"
		" FROM gone GROUP BY chatbot_id) AS g"
		" WHERE " IS_CHATBOT("c", "g"),
	0},
};

#endif							/* CONTACTS_PUSH_OUTBOX_SQL_H */
