# shellcheck shell=bash
# shellcheck disable=SC2154 # set in bench/lib.sh
#
# bench/outbox.sh
#	Benchmarks of what the worker does with the outbox.  To be sourced, by
#	bench/run.

# held_begin: a session of the bench database that holds a snapshot; HOLDER is
# the descriptor that ends it.
held_begin()
{
	exec {HOLDER}> >(PGAPPNAME=holder cluster_psql >/dev/null)
	printf '%s\n' 'BEGIN ISOLATION LEVEL REPEATABLE READ;' \
		'SELECT count(*) FROM contacts_push.outbox;' >&"$HOLDER"
	until_or 60 held_is 1
}

held_end()
{
	exec {HOLDER}>&-
	until_or 60 held_is 0
}

# held_is N: N holders have a snapshot.
held_is()
{
	[ "$(cluster_psql -At -c "SELECT count(*) FROM pg_stat_activity
		WHERE application_name = 'holder' AND backend_xmin IS NOT NULL")" = "$1" ]
}

bench_held()
{
	local rows=$((500000 / scale)) round held seconds

	say "held: $rows contacts drained, with a repeatable-read transaction held since before they were inserted"
	samples_new
	set_up autovacuum on
	for ((round = 0; round < 5; round++)); do
		for held in 1 0; do
			database_new
			[ "$held" -eq 0 ] || held_begin
			fill "$rows"
			seconds=$(drain "$rows")
			[ "$held" -eq 0 ] || held_end
			sample "$([ "$held" -eq 1 ] && echo held || echo free)" "$(per_second "$rows" "$seconds")"
		done
	done
	set_up autovacuum off
	show held contacts/s
	show free contacts/s
	compare held free at-least 0.8
}

# per_second N SECONDS
per_second()
{
	perl -e 'printf "%.1f\n", $ARGV[0] / $ARGV[1]' "$1" "$2"
}

# seconds_since EPOCHREALTIME
seconds_since()
{
	printf '%s\n' "$((${EPOCHREALTIME/./} - ${1/./}))e-6"
}

# drain_bare N: prints the seconds that the UPDATEs alone take.
drain_bare()
{
	local start

	cluster_psql -f - <"$CLONE/bench/sql/bare_loop.sql"
	start=$EPOCHREALTIME
	cluster_psql -c "CALL bare_loop($1)"
	seconds_since "$start"
}

plain_fill()
{
	cluster_psql -f - <"$CLONE/bench/sql/plain_outbox.sql"
	cluster_psql -v rows="$1" -f - <"$CLONE/bench/sql/plain_fill.sql"
	# so that the planner knows what the index is for
	cluster_psql -c 'ANALYZE plain_outbox'
}

# drain_by_hand N: prints the seconds that the batcher takes for N rows.
drain_by_hand()
{
	local start=$EPOCHREALTIME settled

	settled=$(as_user "$BATCHER" "$FAKE_URL/api/v1/chatbots/$chatbot/contacts" test-key)
	seconds_since "$start"
	[ "$settled" = "$1" ]
}

bench_drain()
{
	local rows=$((300000 / scale)) round

	say "drain: $rows contacts, ids stored; bare: UPDATEs of 1000 rows of the same table; by hand: bench/batcher.c"
	samples_new
	for ((round = 0; round < 5; round++)); do
		database_new
		fill "$rows"
		sample worker "$(per_second "$rows" "$(drain "$rows")")"
		database_new
		fill "$rows"
		sample bare "$(per_second "$rows" "$(drain_bare "$rows")")"
		database_new
		plain_fill "$rows"
		sample 'by hand' "$(per_second "$rows" "$(drain_by_hand "$rows")")"
	done
	show worker contacts/s
	show bare rows/s
	show 'by hand' contacts/s
	compare worker bare at-least 0.85
	compare worker 'by hand' at-least 2.5
}

# hot_share N FILLFACTOR SMALL: drains N contacts; prints the share of the
# outbox's updates that were HOT, and what became its size.
hot_share()
{
	database_new
	cluster_psql -c "ALTER TABLE contacts_push.outbox SET (fillfactor = $2)"
	fill "$1" "$3"
	drain "$1" >/dev/null
	until_or 120 statistics_have "$1"
	cluster_psql -At -F ' HOT, ' -v rows="$1" <<'SQL'
SELECT round(n_tup_hot_upd::numeric / n_tup_upd, 4),
	pg_relation_size(relid) / :rows || ' bytes'
FROM pg_stat_user_tables WHERE relid = 'contacts_push.outbox'::regclass;
SQL
}

# statistics_have N: the worker reports what it has updated when it has next been
# awake, a second later at the earliest.
statistics_have()
{
	cluster_psql -c 'SELECT contacts_push_internal.wake()' >/dev/null
	[ "$(cluster_psql -At -c "SELECT n_tup_upd >= $1 FROM pg_stat_user_tables
		WHERE relid = 'contacts_push.outbox'::regclass")" = t ]
}

# wal_of NAME N CMD...: samples the bytes of WAL that CMD writes, a row.
wal_of()
{
	local name=$1 rows=$2 before

	shift 2
	before=$(wal_position)
	"$@" >/dev/null
	sample "$name" "$(perl -e 'printf "%.1f\n", ($ARGV[1] - $ARGV[0]) / $ARGV[2]' \
		"$before" "$(wal_position)" "$rows")"
}

# wal_whole NAME: samples the sum of the two last samples.
wal_whole()
{
	sample "$1" "$(tail -n 2 "$SAMPLES" | awk '{ sum += $NF } END { print sum }')"
}

bench_wal()
{
	local rows=$((100000 / scale)) round fillfactor name

	say "wal: bytes a contact, $rows contacts; plain: bench/sql/plain_outbox.sql with bench/batcher.c"
	samples_new
	for ((round = 0; round < 3; round++)); do
		database_new
		wal_of 'outbox, enqueue' "$rows" fill "$rows"
		wal_of 'outbox, settle' "$rows" drain "$rows"
		wal_whole outbox
		database_new
		wal_of 'plain, enqueue' "$rows" plain_fill "$rows"
		wal_of 'plain, settle' "$rows" drain_by_hand "$rows"
		wal_whole plain
	done
	for name in 'outbox, enqueue' 'outbox, settle' outbox 'plain, enqueue' 'plain, settle' plain; do
		show "$name" bytes
	done
	compare outbox plain at-most 0.6
	say "  share of HOT updates of the outbox, and its size a contact, by fillfactor:"
	for fillfactor in 100 70 60 55 50 45 40; do
		say "    $fillfactor: $(hot_share "$rows" "$fillfactor" off); small contacts: $(hot_share "$rows" "$fillfactor" on)"
	done
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
	[ "$(cluster_psql -At -c "SELECT contacts_push.flush('10 minutes')")" = t ]
}

# is_pending N
is_pending()
{
	[ "$(cluster_psql -At -c 'SELECT pending FROM contacts_push.progress')" = "$1" ]
}

bench_progress()
{
	local settled=$((10000000 / scale)) pending=$((100000 / scale))

	say "progress: one look at it, with $settled settled rows"
	database_new
	cluster_psql -v rows="$settled" -v chatbot="$chatbot" -f - <"$CLONE/bench/sql/settled.sql"
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

# worker_memory: prints the worker's own memory in kB: without the shared
# buffers, which it has in common with all others.
worker_memory()
{
	local pid

	pid=$(cluster_psql -At -c 'SELECT pid FROM contacts_push.worker')
	awk '$1 == "RssAnon:" { print $2 }' "/proc/$pid/status"
}

# settled_at_least N
settled_at_least()
{
	[ "$(cluster_psql -At -c 'SELECT contacts FROM contacts_push.worker')" -ge "$1" ]
}

bench_memory()
{
	local rows=$((1000000 / scale)) tenth start now first

	say "memory: the worker's own memory (RssAnon) while it drains $rows contacts"
	database_new
	fill "$rows"
	start=$(worker_memory)
	say "    at its start: $start kB"
	set_up contacts_push.enabled on
	for ((tenth = 1; tenth <= 10; tenth++)); do
		until_or 1200 settled_at_least $((rows * tenth / 10))
		now=$(worker_memory)
		first=${first:-$now}
		say "    after about $((rows * tenth / 10)): $((now - start)) kB more"
	done
	samples_new
	sample grown "$(perl -e 'print(($ARGV[0] - $ARGV[1]) / 1024)' "$now" "$start")"
	sample 'last tenth' "$now"
	sample 'first tenth' "$first"
	show grown MB at-most 64
	# flat: what the allocator keeps may differ by a few per cent
	compare 'last tenth' 'first tenth' at-most 1.1
}
