# shellcheck shell=bash
# shellcheck disable=SC2034 # what the parts use is set here
#
# bench/lib.sh
#	What the benchmarks share: the cluster, databases, draining, samples.  To be
#	sourced, after dev/cluster.sh.  What is measured belongs into outbox.sh and
#	watched.sh.

# The example of the API's own documentation.
chatbot=ckl123abc456

# 1 once a ratio has missed its target.
missed=0

# 1, or by how much everything is smaller.
scale=1

# So high that pacing keeps nothing back: the setting's maximum.
no_limit=100000

# A drain that takes longer hangs: 1,000,000 rows take less than a minute.
drain_limit='20 minutes'

say()
{
	printf '%s\n' "$*"
}

# Builds everything and starts the servers.  No checkpoint and no autovacuum may
# fall into one half of a pair only; 512 MB of buffers hold what is measured.
bench_begin()
{
	"$CLONE/dev/setup"
	private_begin
	SAMPLES=$PRIVATE/samples
	{
		private_source && private_root && private_build -s && build_batcher
	} >"$PRIVATE/build.log" 2>&1 || {
		tail -n 40 "$PRIVATE/build.log"
		exit 2
	}
	cluster_start bench "shared_buffers = 512MB" "max_wal_size = 16GB" \
		"checkpoint_timeout = 1h" "autovacuum = off" \
		"contacts_push.enabled = off"
	fake_start --key test-key
	set_up "contacts_push.base_url" "$FAKE_URL/api/v1"
	set_up "contacts_push.api_key" "test-key"
	set_up "contacts_push.requests_per_second" "$no_limit"
	say "$(cluster_psql -At -c 'SELECT version()')"
	say "$(nproc) processors; load when this began: $(cut -d ' ' -f 1-3 /proc/loadavg)"
}

bench_end()
{
	fake_stop
	cluster_stop
}

build_batcher()
{
	local pkg

	pkg=$(pkg-config --cflags --libs libpq libcurl json-c) || return
	BATCHER=$PRIVATE/batcher
	# shellcheck disable=SC2086 # several options
	"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -o "$BATCHER" "$CLONE/bench/batcher.c" $pkg
}

# set_up SETTING VALUE: for the whole server, at once.
set_up()
{
	cluster_psql -v value="$2" <<<"ALTER SYSTEM SET $1 = :'value'; SELECT pg_reload_conf();" >/dev/null
}

# database_new [TEMPLATE]: a new database with the extension, a copy of TEMPLATE if
# there is one, and a stand-in that holds nothing.  The one before is dropped.
database_new()
{
	database_gone
	if [ $# -gt 0 ]; then
		cluster_psql -c "CREATE DATABASE bench TEMPLATE $1 STRATEGY file_copy" -c 'CHECKPOINT'
	else
		cluster_psql -c 'CREATE DATABASE bench' -c 'CHECKPOINT'
	fi
	export PGDATABASE=bench
	if [ $# -eq 0 ]; then
		cluster_psql -c 'CREATE EXTENSION contacts_push'
		cluster_psql -f - <"$CLONE/bench/sql/contact.sql"
	fi
	until_or 180 worker_runs || {
		say "the worker did not start" >&2
		exit 2
	}
}

# database_gone: no worker sends, there is no database bench, and the stand-in holds
# nothing.
database_gone()
{
	export PGDATABASE=postgres
	set_up contacts_push.enabled off
	cluster_psql -c 'SET client_min_messages = warning' -c 'DROP DATABASE IF EXISTS bench'
	fake_post /_admin/reset ''
}

worker_runs()
{
	[ "$(cluster_psql -At -c 'SELECT count(*) FROM contacts_push.worker')" = 1 ]
}

# fill N [KIND [AFTER]]: N contacts into the outbox, of users whose numbers begin after
# AFTER; KIND as in sql/contact.sql.  Sets CPU_BEFORE, for drain: a worker that may not send
# reads all the same.
fill()
{
	CPU_BEFORE=$(cpu_ns "$(worker_pid)")
	cluster_psql -v rows="$1" -v kind="${2:-usual}" -v after="${3:-0}" -v chatbot="$chatbot" \
		-f - <"$CLONE/bench/sql/fill.sql"
}

# drain N: has the worker send what is pending.  Sets DRAIN_SINCE, when it was
# switched on, DRAIN_SECONDS, from then until the last outcome was recorded, and DRAIN_CPU, what
# the worker has had since the last fill began, in microseconds a contact.  Fails unless N rows become created.
drain()
{
	local created pid result

	pid=$(worker_pid)
	result=$(cluster_psql -At -F '|' -v limit="$drain_limit" <<'SQL'
ALTER SYSTEM SET contacts_push.enabled = on;
SELECT clock_timestamp() AS start, pg_reload_conf() \gset
SELECT contacts_push.flush(:'limit') AS settled \gset
SELECT extract(epoch FROM max(settled_at) - :'start'), count(*), :'start'
FROM contacts_push.outbox WHERE settled_at > :'start' AND status = 'created';
SQL
	) || return
	set_up contacts_push.enabled off
	DRAIN_CPU=$(calculate "($(cpu_ns "$pid") - $CPU_BEFORE) / 1000 / $1")
	IFS='|' read -r DRAIN_SECONDS created DRAIN_SINCE <<<"$result"
	if [ "$created" != "$1" ]; then
		say "$created of $1 contacts were created" >&2
		return 1
	fi
}

worker_pid()
{
	cluster_psql -At -c 'SELECT pid FROM contacts_push.worker'
}

# cpu_ns PID: prints how long the process has had a processor.  Fails when it is gone.
cpu_ns()
{
	cut -d ' ' -f 1 "/proc/$1/schedstat"
}

calculate()
{
	awk "BEGIN { print $1 }"
}

# per_second N SECONDS
per_second()
{
	calculate "$1 / $2"
}

# arrivals: prints the external_ids and when their request arrived, in seconds since
# 1970, of those that were answered 200.  The stand-in names the first five contacts of a
# request.
arrivals()
{
	{
		fake_get /_admin/stats
		echo
		fake_get /_admin/requests
	} | perl -MJSON::PP -e '
		my ($stats, $requests) = map { decode_json($_) } <STDIN>;
		for my $request (grep { $_->{status} == 200 } @$requests)
		{
			printf "%s\t%.6f\n", $_, ($stats->{started_at_ms} + $request->{at_ms}) / 1000
				for @{ $request->{external_ids} };
		}'
}

# wal_position: prints it, in bytes.
wal_position()
{
	cluster_psql -At -c "SELECT pg_current_wal_insert_lsn() - '0/0'"
}

# sample NAME VALUE: VALUE is a duration or a rate; one a round.
sample()
{
	printf '%s\t%s\n' "$1" "$2" >>"$SAMPLES"
}

samples_new()
{
	: >"$SAMPLES"
}

# show NAME UNIT [at-least|at-most TARGET]: the median of the samples.
# compare A B [at-least|at-most TARGET]: the median of the ratios A : B of each
# round.  A missed target is remembered.
show()
{
	report show "$@"
}

compare()
{
	report compare "$@"
}

report()
{
	local status=0

	perl "$CLONE/bench/report.pl" "$SAMPLES" "$@" || status=$?
	if [ "$status" -eq 3 ]; then
		missed=1
		status=0
	fi
	return "$status"
}
