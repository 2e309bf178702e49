# shellcheck shell=bash
# shellcheck disable=SC2154 # set in bench/lib.sh
#
# bench/settled.sh
#	Benchmarks of an outbox as it is after years, with ten million settled rows.  To be
#	sourced, by bench/run.

# They are made once and copied.
settled=
settled_rows()
{
	echo $((10000000 / scale))
}

# settled_new: a new database bench with them, whose worker has looked at them.
settled_new()
{
	[ -n "$settled" ] || settled_make
	database_new settled
	set_up contacts_push.enabled on
	looked_through
	set_up contacts_push.enabled off
}

settled_make()
{
	database_new
	cluster_psql -v rows="$(settled_rows)" -v chatbot="$chatbot" -f - <"$CLONE/bench/sql/settled.sql"
	# as autovacuum would have done, so that no half of a pair has to
	cluster_psql -c 'VACUUM (FREEZE, ANALYZE) contacts_push.outbox'
	export PGDATABASE=postgres
	# a template has no worker
	cluster_psql -c 'ALTER DATABASE bench RENAME TO settled' -c 'ALTER DATABASE settled IS_TEMPLATE true'
	settled=made
}

looked_through()
{
	[ "$(cluster_psql -At -c "SELECT contacts_push.flush('10 minutes')")" = t ]
}

bench_settled()
{
	local rows=$((300000 / scale)) round

	say "settled: $rows contacts of 200 bytes drained with $(settled_rows) settled rows in the table, and into an empty one"
	samples_new
	for ((round = 0; round < 5; round++)); do
		settled_new
		fill "$rows" full
		drain "$rows"
		sample_drain settled "$rows"
		database_new
		fill "$rows" full
		drain "$rows"
		sample_drain empty "$rows"
	done
	show settled contacts/s
	show empty contacts/s
	show 'settled: CPU' 'us a contact'
	show 'empty: CPU' 'us a contact'
	compare settled empty at-least 0.9
}

# arrived ID: the stand-in has answered a request with it; ARRIVED is when it arrived.
arrived()
{
	ARRIVED=$(arrivals | awk -v id="$1" '$1 == id { print $2 }')
	[ -n "$ARRIVED" ]
}

# sample_start NAME ID FROM: samples the seconds from FROM, an SQL expression for a time, to the
# arrival of the request with the contact ID.
sample_start()
{
	until_or 300 arrived "$2"
	sample "$1" "$(cluster_psql -At -c "SELECT $ARRIVED - extract(epoch FROM $3)")"
}

# The worker is ended, and a contact enqueued before the next one is there (or at the latest
# when it has just begun: then the commit counts).
start_after_termination()
{
	local id=terminated$1 committed

	committed=$(cluster_psql -At -v id="$id" -v chatbot="$chatbot" <<'SQL'
SELECT pg_terminate_backend(pid) FROM contacts_push.worker \g /dev/null
SELECT contacts_push.enqueue(:'chatbot', jsonb_build_object('external_id', :'id')) \g /dev/null
SELECT clock_timestamp();
SQL
	)
	sample_start 'worker ended' "$id" "greatest('$committed',
		(SELECT backend_start FROM pg_stat_activity JOIN contacts_push.worker USING (pid)))"
}

# A contact is enqueued while the worker may not send, and the server started anew; from the
# start of the server.
start_after_restart()
{
	local id=restarted$1

	set_up contacts_push.enabled off
	cluster_psql -c "SELECT contacts_push.enqueue('$chatbot', jsonb_build_object('external_id', '$id'))" >/dev/null
	cluster_psql -c 'ALTER SYSTEM SET contacts_push.enabled = on'
	cluster_restart
	sample_start 'server restarted' "$id" 'pg_postmaster_start_time()'
}

bench_start()
{
	local round

	say "start: from the start of a worker or of the server, beside $(settled_rows) settled rows, to the arrival of the first new contact"
	samples_new
	settled_new
	set_up contacts_push.enabled on
	for ((round = 0; round < 5; round++)); do
		start_after_termination "$round"
		looked_through
		start_after_restart "$round"
		looked_through
	done
	set_up contacts_push.enabled off
	show 'worker ended' s at-most 1
	show 'server restarted' s at-most 1
}

# progress_ms NAME: samples what contacts_push.progress takes.
progress_ms()
{
	local round

	for ((round = 0; round < 15; round++)); do
		sample "$1" "$(cluster_psql -At -c 'EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM contacts_push.progress' |
			awk '/^Execution Time:/ { print $3 }')"
	done
	show "$1" ms at-most 50
}

# new_worker: has the worker end, and waits for the next one to have looked at the
# outbox; all chatbots are paused.
new_worker()
{
	cluster_psql -At -c 'SELECT pg_terminate_backend(pid, 60000) FROM contacts_push.worker' >/dev/null
	until_or 60 worker_runs
	looked_through
}

# is_pending N
is_pending()
{
	[ "$(cluster_psql -At -c 'SELECT pending FROM contacts_push.progress')" = "$1" ]
}

bench_progress()
{
	local pending=$((100000 / scale))

	say "progress: one look at it, with $(settled_rows) settled rows"
	settled_new
	cluster_psql -c "SELECT contacts_push.pause('$chatbot')" >/dev/null
	set_up contacts_push.enabled on
	new_worker
	samples_new
	progress_ms 'nothing pending'
	fill "$pending"
	is_pending "$pending"
	progress_ms "$pending pending, paused"
	# one that begins anew knows as well where they are
	new_worker
	progress_ms "$pending pending, after a restart"
	fake_post /_admin/faults '[{"action": {"delay_ms": 60000}}]'
	cluster_psql -c "SELECT contacts_push.resume('$chatbot')" >/dev/null
	until_or 60 requests_under_way
	is_pending "$pending"
	progress_ms "$pending pending, being sent"
	set_up contacts_push.enabled off
	fake_post /_admin/faults '[]'
}

requests_under_way()
{
	[ "$(cluster_psql -At -c 'SELECT requests_in_flight FROM contacts_push.worker')" -gt 0 ]
}
