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
	local rows=$((500000 / scale)) round held

	say "held: $rows contacts drained, with a repeatable-read transaction held since before they were inserted"
	samples_new
	set_up autovacuum on
	for ((round = 0; round < 5; round++)); do
		for held in 1 0; do
			database_new
			[ "$held" -eq 0 ] || held_begin
			fill "$rows"
			drain "$rows"
			[ "$held" -eq 0 ] || held_end
			sample "$([ "$held" -eq 1 ] && echo held || echo free)" "$(per_second "$rows" "$DRAIN_SECONDS")"
		done
	done
	set_up autovacuum off
	show held contacts/s
	show free contacts/s
	compare held free at-least 0.9
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

# plain_fill N [KIND]: as fill
plain_fill()
{
	cluster_psql -f - <"$CLONE/bench/sql/plain_outbox.sql"
	cluster_psql -v rows="$1" -v kind="${2:-usual}" -f - <"$CLONE/bench/sql/plain_fill.sql"
	# so that the planner knows what the index is for
	cluster_psql -c 'ANALYZE plain_outbox'
}

# drain_by_hand N: as drain, with the batcher; the CPU is that of its two processes.
drain_by_hand()
{
	local start=$EPOCHREALTIME result

	result=$(as_user "$BATCHER" "$FAKE_URL/api/v1/chatbots/$chatbot/contacts" test-key)
	DRAIN_SECONDS=$(seconds_since "$start")
	DRAIN_CPU=$(calculate "${result#* } / 1000 / $1")
	if [ "${result% *}" != "$1" ]; then
		say "${result% *} of $1 contacts were settled" >&2
		return 1
	fi
}

# sample_drain NAME N: what drain has set.
sample_drain()
{
	sample "$1" "$(per_second "$2" "$DRAIN_SECONDS")"
	sample "$1: CPU" "$DRAIN_CPU"
}

bench_drain()
{
	local rows=$((300000 / scale)) round

	say "drain: $rows contacts of 200 bytes, ids stored; bare: UPDATEs of 1000 rows of the same table; by hand: bench/batcher.c"
	samples_new
	for ((round = 0; round < 5; round++)); do
		database_new
		fill "$rows" full
		drain "$rows"
		sample_drain worker "$rows"
		# the same people once more, for another chatbot
		chatbot=another fill "$rows" full
		drain "$rows"
		sample_drain 'second chatbot' "$rows"
		database_new
		fill "$rows" full
		sample bare "$(per_second "$rows" "$(drain_bare "$rows")")"
		database_new
		plain_fill "$rows" full
		drain_by_hand "$rows"
		sample_drain 'by hand' "$rows"
	done
	show worker contacts/s
	show 'second chatbot' contacts/s
	show bare rows/s
	show 'by hand' contacts/s
	show 'worker: CPU' 'us a contact' at-most 15
	show 'second chatbot: CPU' 'us a contact' at-most 15
	show 'by hand: CPU' 'us a contact'
	compare worker bare
	compare worker 'by hand' at-least 1.5
}

# hot_share N FILLFACTOR KIND: drains N contacts; prints the share of the
# outbox's updates that were HOT, and what became its size.
hot_share()
{
	database_new
	cluster_psql -c "ALTER TABLE contacts_push.outbox SET (fillfactor = $2)"
	fill "$1" "$3"
	drain "$1"
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
	"$@"
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
	compare outbox plain at-most 0.65
	say "  share of HOT updates of the outbox, and its size a contact, by fillfactor:"
	for fillfactor in 100 70 60 55 50 45 40; do
		say "    $fillfactor: $(hot_share "$rows" "$fillfactor" usual); small contacts: $(hot_share "$rows" "$fillfactor" small)"
	done
}

# worker_memory: prints the worker's own memory in kB: without the shared
# buffers, which it has in common with all others.
worker_memory()
{
	awk '$1 == "RssAnon:" { print $2 }' "/proc/$(worker_pid)/status"
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

# fill_chatbots N EACH AFTER: EACH contacts for each of N chatbots, see fill.
fill_chatbots()
{
	cluster_psql -v chatbots="$1" -v each="$2" -v after="$3" -f - <"$CLONE/bench/sql/chatbots.sql"
}

# chatbots_take NAME N EACH BESIDE: samples the seconds from switching the worker on until all
# of N chatbots have EACH contacts more, at 200 requests a second, beside a chatbot with
# BESIDE contacts that were enqueued before theirs.  Each chatbot has had a success
# already: those that never had one wait for the others.
chatbots_take()
{
	database_new
	fill_chatbots "$2" 1 0
	fill 1
	drain $(($2 + 1))
	fill "$4" usual 1
	fill_chatbots "$2" "$3" 1
	set_up contacts_push.requests_per_second 200
	drain $(($2 * $3 + $4))
	set_up contacts_push.requests_per_second "$no_limit"
	sample "$1" "$(cluster_psql -At -c "SELECT extract(epoch FROM max(settled_at) - '$DRAIN_SINCE')
		FROM contacts_push.outbox WHERE chatbot_id LIKE 'many%'")"
}

bench_chatbots()
{
	local beside=$((300000 / scale)) chatbots round

	for chatbots in $((1000 / scale)) $((2000 / scale)); do
		say "chatbots: $chatbots with 100 contacts each, at 200 requests a second; beside: one with $beside is there before them"
		samples_new
		for ((round = 0; round < 3; round++)); do
			chatbots_take beside "$chatbots" 100 "$beside"
			chatbots_take alone "$chatbots" 100 0
		done
		show beside s
		show alone s
		compare beside alone at-most 1.2
	done
}
