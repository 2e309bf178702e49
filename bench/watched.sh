# shellcheck shell=bash
# shellcheck disable=SC2154 # set in bench/lib.sh
#
# bench/watched.sh
#	Benchmarks of what a watched table costs those who write it, and of how soon
#	its rows leave.  To be sourced, by bench/run.

# users_new: a new database with the three tables of sql/users.sql.
users_new()
{
	database_new
	cluster_psql -f - <"$CLONE/bench/sql/plain_outbox.sql"
	cluster_psql -v chatbot="$chatbot" -f - <"$CLONE/bench/sql/users.sql" >/dev/null
}

# users_fill TABLE N: prints how many milliseconds the INSERT took; see cpu_of.
users_fill()
{
	cluster_psql -At -v rows="$2" -v table="$1" <<'SQL'
SELECT note_cpu(:'table') \g /dev/null
SELECT clock_timestamp() AS start \gset
INSERT INTO :"table" (name, email, phonenumber)
SELECT 'Given ' || n || ' Family', 'given.' || n || '@example.com',
	'+1 555 ' || lpad(n::text, 8, '0')
FROM generate_series(1, :rows) AS n;
SELECT 1000 * extract(epoch FROM clock_timestamp() - :'start');
SELECT note_cpu(:'table') \g /dev/null
SQL
}

# cpu_of TABLE N: microseconds of CPU that the sessions have had which wrote N rows of
# the table, a row; forgets them.
cpu_of()
{
	cluster_psql -At -v table="$1" -v rows="$2" <<'SQL'
WITH noted AS (DELETE FROM cpu WHERE what = :'table' RETURNING pid, ns)
SELECT sum(ns) / 1000.0 / :rows FROM (SELECT max(ns) - min(ns) AS ns FROM noted GROUP BY pid) AS session
SQL
}

# sample_cpu TABLE N: samples that, and what each trigger adds, once all three tables
# have been written.
sample_cpu()
{
	local name=${1#users_}

	cpu[$name]=$(cpu_of "$1" "$2")
	sample "${name/_/ }: CPU" "${cpu[$name]}"
	if [ "$name" = by_hand ]; then
		sample 'watched: CPU added' "$(calculate "${cpu[watched]} - ${cpu[plain]}")"
		sample 'by hand: CPU added' "$(calculate "${cpu[by_hand]} - ${cpu[plain]}")"
	fi
}

# show_cpu [MOST]: what the push adds : what the trigger by hand adds has to be at most that.
show_cpu()
{
	show 'plain: CPU' 'us a row'
	show 'watched: CPU added' 'us a row'
	show 'by hand: CPU added' 'us a row'
	compare 'watched: CPU added' 'by hand: CPU added' ${1:+at-most "$1"}
}

# script NAME: writes standard input as a script of pgbench; prints its path.
script()
{
	as_user tee "$WORK/$1.pgbench" >/dev/null
	echo "$WORK/$1.pgbench"
}

pgbench()
{
	as_user "$BIN/pgbench" -n -M prepared "$@" 2>"$PRIVATE/pgbench.log" || {
		cat "$PRIVATE/pgbench.log" >&2
		return 1
	}
}

update_script()
{
	script "update_$1" <<SQL
\\set id random(1, $users)
UPDATE users_$1 SET logins = logins + 1 WHERE id = :id;
SQL
}

# One client and a coin for each transaction, so that both tables have the same
# of whatever the machine does meanwhile.
bench_update()
{
	local users=10000 transactions=$((10000 / scale)) round commit scripts
	local -A target=([on]=0.97 [off]=0.93)

	say "update: single-row updates of a column that isn't mapped, as many in the same time"
	users_new
	users_fill users_plain "$users" >/dev/null
	users_fill users_watched "$users" >/dev/null
	cluster_psql -c 'VACUUM ANALYZE users_plain, users_watched'
	scripts=(-f "$(update_script plain)" -f "$(update_script watched)")
	for commit in on off; do
		say "  synchronous_commit = $commit"
		samples_new
		for ((round = 0; round < 15; round++)); do
			rm -f "$WORK"/updates.*
			PGOPTIONS="-c synchronous_commit=$commit" pgbench -c 1 -t "$transactions" \
				-l --log-prefix="$WORK/updates" "${scripts[@]}" >/dev/null
			sample_updates
		done
		show unwatched updates/s
		show watched updates/s
		compare watched unwatched at-least "${target[$commit]}"
	done
	[ "$(cluster_psql -At -c 'SELECT count(*) FROM contacts_push.outbox')" = "$users" ]
}

# Of pgbench's log the third column is the transaction's time in µs, the fourth
# the number of the script.
sample_updates()
{
	local name i=0

	for name in unwatched watched; do
		sample "$name" "$(as_user cat "$WORK"/updates.* |
			awk -v i="$i" '$4 == i { time += $3; n++ } END { print 1e6 * n / time }')"
		i=$((i + 1))
	done
}

bench_bulk()
{
	local rows=$((100000 / scale)) round table
	local -A cpu

	say "bulk: one INSERT of $rows users; by hand: a row trigger in plpgsql that fills a plain outbox"
	samples_new
	for ((round = 0; round < 7; round++)); do
		users_new
		for table in plain watched by_hand; do
			sample "${table/_/ }" "$(users_fill "users_$table" "$rows")"
			sample_cpu "users_$table" "$rows"
		done
	done
	show plain ms
	show watched ms
	show 'by hand' ms
	compare watched plain
	compare 'by hand' plain
	show_cpu 0.5
}

# users_loop TABLE N: N statements of one row each in one transaction; see cpu_of.
users_loop()
{
	cluster_psql -At <<SQL
SELECT note_cpu('$1') \g /dev/null
DO \$\$
BEGIN
	FOR i IN 1..$2 LOOP
		INSERT INTO $1 (name, email, phonenumber)
		VALUES ('Given Family', gen_random_uuid() || '@example.com', '+1 555 ' || (random() * 1e12)::bigint);
	END LOOP;
END
\$\$;
SELECT note_cpu('$1') \g /dev/null
SQL
}

# What a statement costs, without its commit and the switches between processes that
# come with it: so it is told the least by what else the machine does.
bench_statement()
{
	local rows=$((20000 / scale)) round table
	local -A cpu

	say "statement: $rows single-row INSERTs in one transaction"
	samples_new
	users_new
	for ((round = 0; round < 15; round++)); do
		for table in plain watched by_hand; do
			users_loop "users_$table" "$rows"
			sample_cpu "users_$table" "$rows"
		done
	done
	show_cpu 0.7
}

# insert_loop TABLE N: prints one line of SQL for N statements of one row each.
insert_loop()
{
	printf '%s' "DO \$\$ BEGIN FOR i IN 1 .. $2 LOOP INSERT INTO $1 (name, email, phonenumber)" \
		" VALUES ('Given Family', i || '@example.com', '+1 555 ' || i); END LOOP; END \$\$;"
	echo
}

# instructions_of TABLE N: prints how many a backend without a server needs for that, and for
# being there at all.  It works in a copy of CLUSTER.
instructions_of()
{
	as_user cp -a "$CLUSTER" "$WORK/copy"
	insert_loop "$1" "$2" | as_user valgrind --tool=callgrind --callgrind-out-file="$WORK/callgrind" \
		"$BIN/postgres" --single -D "$WORK/copy" bench 2>&1 >/dev/null | awk '$2 == "Collected" { print $4 }'
	as_user rm -r "$WORK/copy"
}

# The same as statement, counted: exactly, whatever else the machine does.
bench_instructions()
{
	say "instructions: of a single-row INSERT, by valgrind"
	samples_new
	# a cluster of its own, which is small enough to be copied
	(
		cluster_start counted "autovacuum = off"
		users_new
		cluster_stop
		count_instructions 500 $((2500 / scale + 500))
	)
	show plain 'a row'
	show 'watched: added' 'a row'
	show 'by hand: added' 'a row'
	compare 'watched: added' 'by hand: added' at-most 0.7
}

# count_instructions FEW MANY: samples what a row takes between so many and as many.
count_instructions()
{
	local table few many
	local -A row

	for table in plain watched by_hand; do
		few=$(instructions_of "users_$table" "$1")
		many=$(instructions_of "users_$table" "$2")
		row[$table]=$(calculate "($many - $few) / ($2 - $1)")
	done
	sample plain "${row[plain]}"
	sample 'watched: added' "$(calculate "${row[watched]} - ${row[plain]}")"
	sample 'by hand: added' "$(calculate "${row[by_hand]} - ${row[plain]}")"
}

# Everybody has a phone number of his own: contacts that share one go one after the other.
# insert_script TABLE N: N transactions of each client, whose first and last note its CPU.
insert_script()
{
	script "insert_$1" <<SQL
\\set i :i + 1
\\if :i = 1
SELECT note_cpu('users_$1');
\\endif
INSERT INTO users_$1 (name, email, phonenumber)
VALUES ('Given Family', gen_random_uuid() || '@example.com', '+1 555 ' || (random() * 1e12)::bigint);
\\if :i = $2
SELECT note_cpu('users_$1');
\\endif
SQL
}

# insert_round CLIENTS: samples each table once.  What one leaves to the worker
# is sent before the next begins.
insert_round()
{
	local table transactions=$((12000 / scale / $1))

	for table in plain watched by_hand; do
		sample "${table/_/ }" "$(pgbench -c "$1" -t "$transactions" -D i=0 \
			-f "$(insert_script "$table" "$transactions")" | awk '/^tps = / { print $3 }')"
		cluster_psql -c "SELECT contacts_push.flush('10 minutes')" >/dev/null
		sample_cpu "users_$table" "$((transactions * $1))"
	done
}

# The worker sends meanwhile, within the API's limit (the default), and without
# any, which makes most work.
bench_single()
{
	local limit clients round
	local -A cpu

	say "single: single-row INSERTs, while the worker sends"
	for limit in 10 "$no_limit"; do
		for clients in 1 4; do
			say "  $clients client(s), at most $limit requests a second"
			samples_new
			users_new
			set_up contacts_push.requests_per_second "$limit"
			set_up contacts_push.enabled on
			for ((round = 0; round < 5; round++)); do
				insert_round "$clients"
			done
			set_up contacts_push.enabled off
			set_up contacts_push.requests_per_second "$no_limit"
			show plain inserts/s
			show watched inserts/s
			show 'by hand' inserts/s
			if [ "$limit" = "$no_limit" ]; then
				compare watched plain
				compare 'by hand' plain
				show_cpu
			else
				compare watched plain at-least 0.85
				compare 'by hand' plain
				compare watched 'by hand' at-least 1
				show_cpu 0.7
			fi
		done
	done
}

# latency_of NAME MS TRANSACTIONS: inserts one user each MS milliseconds, and has
# in the file latency how long after each commit its request arrived.
latency_of()
{
	local ms=$2 transactions=$3

	users_new
	set_up contacts_push.enabled on
	samples_new
	rm -f "$WORK"/latency.*
	pgbench -c 1 -t "$transactions" -l --log-prefix="$WORK/latency" -f "$(script insert_slowly <<SQL
\\sleep $ms ms
INSERT INTO users_watched (name, email) VALUES ('Given Family', gen_random_uuid() || '@example.com');
SQL
	)" >/dev/null
	cluster_psql -c "SELECT contacts_push.flush('1 minute')" >/dev/null
	cluster_psql -c 'CREATE TABLE committed (id bigint GENERATED ALWAYS AS IDENTITY, at numeric)'
	# pgbench notes when it had the commit's answer; its lines are in order
	as_user cat "$WORK"/latency.* | awk '{ printf "%s.%06d\n", $5, $6 }' |
		cluster_psql -c '\copy committed (at) FROM STDIN'
	cluster_psql -c 'CREATE TABLE arrived (id bigint, at numeric)'
	arrivals | cluster_psql -c '\copy arrived FROM STDIN'
	cluster_psql -At -c 'SELECT 1000 * (a.at - c.at) FROM arrived a JOIN committed c USING (id)' \
		>"$PRIVATE/latency"
	set_up contacts_push.enabled off
	if [ "$(wc -l <"$PRIVATE/latency")" -ne "$transactions" ]; then
		say "not every insert has been found in a request" >&2
		return 1
	fi
	show_latency "$1"
}

# quantile SHARE: of the latencies.
quantile()
{
	sort -g "$PRIVATE/latency" |
		awk -v share="$1" '{ value[NR] = $1 } END { print value[int(NR * share + 0.5)] }'
}

# show_latency NAME
show_latency()
{
	say "  $1"
	sample median "$(quantile 0.5)"
	sample p99 "$(quantile 0.99)"
	show median ms at-most 1
	show p99 ms at-most 5
}

bench_latency()
{
	say "latency: from a commit to the arrival of its request, on loopback"
	latency_of 'idle (every 300 ms)' 300 $((200 / scale))
	latency_of 'an insert every 50 ms' 50 $((1000 / scale))
}
