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

# database_new: a new database with the extension, and a stand-in that holds
# nothing.  The one before is dropped.
database_new()
{
	local url=$FAKE_URL

	export PGDATABASE=postgres
	set_up contacts_push.enabled off
	cluster_psql -c 'SET client_min_messages = warning' -c 'DROP DATABASE IF EXISTS bench' \
		-c 'CREATE DATABASE bench' -c 'CHECKPOINT'
	fake_post /_admin/reset ''
	FAKE_URL=$url
	export PGDATABASE=bench
	cluster_psql -c 'CREATE EXTENSION contacts_push'
	until_or 60 worker_runs || {
		say "the worker did not start" >&2
		exit 2
	}
}

worker_runs()
{
	[ "$(cluster_psql -At -c 'SELECT count(*) FROM contacts_push.worker')" = 1 ]
}

# fill N [SMALL]: N contacts into the outbox; SMALL: with an e-mail only.
fill()
{
	cluster_psql -v rows="$1" -v small="${2:-off}" -v chatbot="$chatbot" -f - <"$CLONE/bench/sql/fill.sql"
}

# drain N: has the worker send what is pending, and prints how many seconds that
# took, from switching it on until the last outcome was recorded.  Fails unless N
# rows are created.
drain()
{
	local result

	result=$(cluster_psql -At -F ' ' -v limit="$drain_limit" <<'SQL'
ALTER SYSTEM SET contacts_push.enabled = on;
SELECT clock_timestamp() AS start, pg_reload_conf() \gset
SELECT contacts_push.flush(:'limit') AS settled \gset
SELECT extract(epoch FROM max(settled_at) - :'start'),
	count(*) FILTER (WHERE status = 'created') FROM contacts_push.outbox;
SQL
	) || return
	set_up contacts_push.enabled off
	if [ "${result#* }" != "$1" ]; then
		say "${result#* } of $1 contacts were created" >&2
		return 1
	fi
	printf '%s\n' "${result% *}"
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
