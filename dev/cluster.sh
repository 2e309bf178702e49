# shellcheck shell=bash
#
# dev/cluster.sh
#	The servers that the scripts here start: a PostgreSQL cluster with the
#	extension and the stand-in for the API.  To be sourced, after dev/lib.sh,
#	whose private_end ends both if nobody else does.
#
# After cluster_start NAME: CLUSTER (its directory; its log is CLUSTER.log), and
# PGHOST, PGPORT, PGUSER and PGDATABASE in the environment.
# After fake_start: FAKE_URL; the API's base URL is $FAKE_URL/api/v1.
#
# Of each there is one a shell; those of several subshells keep apart.

# cluster_start NAME [SETTING...]: a new cluster, reached through a socket in
# its own directory only.  A SETTING is a line of postgresql.conf.
cluster_start()
{
	CLUSTER=$WORK/$1
	shift
	export PGHOST=$CLUSTER PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	as_user "$BIN/initdb" --no-sync -A trust -U "$PGUSER" -D "$CLUSTER" >"$PRIVATE/${CLUSTER##*/}.initdb" 2>&1 || {
		cat "$PRIVATE/${CLUSTER##*/}.initdb" >&2
		return 1
	}
	printf '%s\n' \
		"listen_addresses = ''" \
		"unix_socket_directories = '$CLUSTER'" \
		"unix_socket_permissions = 0700" \
		"shared_preload_libraries = 'contacts_push'" \
		"fsync = on" \
		"log_line_prefix = '%m [%p] %b %d '" \
		"$@" >>"$CLUSTER/postgresql.conf"
	# A minute, as pg_ctl waits by default, may be short on a loaded machine.
	as_user "$BIN/pg_ctl" -s -w -t 300 -D "$CLUSTER" -l "$CLUSTER.log" start || {
		tail -n 40 "$CLUSTER.log" >&2
		return 1
	}
}

# cluster_psql [ARG...]: psql that stops at the first error.
cluster_psql()
{
	as_user "$BIN/psql" -X -q -v ON_ERROR_STOP=1 "$@"
}

cluster_restart()
{
	as_user "$BIN/pg_ctl" -s -w -t 300 -D "$CLUSTER" -l "$CLUSTER.log" -m fast restart
}

# Stops the cluster as an administrator would.  Fails if that didn't work
# within a minute (the worker's own limit for an unfinished request is a
# second), and if a process had crashed.
cluster_stop()
{
	as_user "$BIN/pg_ctl" -s -w -t 60 -D "$CLUSTER" -m fast stop || return
	if grep -E 'PANIC: |TRAP: |terminated by signal (4|6|7|8|9|11)\b' "$CLUSTER.log"; then
		echo "a process of the server crashed"
		return 1
	fi
}

# fake_start [ARG...]: the stand-in for the API, on a free port.  It ends when
# its standard input does, so at the latest with this script.
fake_start()
{
	local line log=$PRIVATE/fake.$BASHPID

	coproc FAKE {
		exec "${AS_USER[@]}" "$FAKE_CHATBASE" --port 0 --exit-with-stdin "$@" 2>"$log"
	}
	if ! read -r -t 60 -u "${FAKE[0]:-}" line || [[ $line != 'listening on '* ]]; then
		echo "the stand-in didn't start: $(cat "$log")" >&2
		return 1
	fi
	FAKE_URL=${line#listening on }
}

fake_stop()
{
	local pid=${FAKE_PID:-} fd

	[ -n "$pid" ] || return 0
	fd=${FAKE[1]}
	exec {fd}>&-
	wait "$pid"
}

# fake_get PATH: prints what the stand-in's admin side answers.
fake_get()
{
	fake_request GET "$1" ''
}

# fake_post PATH BODY
fake_post()
{
	fake_request POST "$1" "$2" >/dev/null
}

# fake_request METHOD PATH BODY: fails, with the answer, unless it is a success.
fake_request()
{
	perl -MHTTP::Tiny -e '
		my ($method, $url, $body) = @ARGV;
		my $answer = HTTP::Tiny->new->request($method, $url, { content => $body });
		die "$method $url: $answer->{status} $answer->{content}\n" unless $answer->{success};
		print $answer->{content};' "$1" "$FAKE_URL$2" "$3"
}
