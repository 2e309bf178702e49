# shellcheck shell=bash
#
# dev/progress.sh
#	Waits for the outbox and shows how far it is.  To be sourced, after
#	dev/cluster.sh.

# How long the demo's contacts may take in all: two minutes are thirty times
# what they take, and a person's patience.
progress_limit=120
progress_width=40

# progress EXPECTED: until EXPECTED contacts are settled; on a terminal a bar
# that moves, else a line every tenth.  If it takes too long it says what the
# extension itself says, and fails.
progress()
{
	local expected=$1 settled=-1 tenth shown=-1 start=${EPOCHREALTIME/./} ms=0

	while [ "$settled" -lt "$expected" ]; do
		settled=$(cluster_psql -At -c \
			"SELECT count(*) FROM contacts_push.outbox WHERE status <> 'pending'") || return
		ms=$(((${EPOCHREALTIME/./} - start) / 1000))
		tenth=$((settled * 10 / expected))
		if [ -t 1 ]; then
			printf '\r    %s' "$(progress_line "$settled" "$expected" "$ms")"
		elif [ "$tenth" -ne "$shown" ]; then
			printf '    %s\n' "$(progress_line "$settled" "$expected" "$ms")"
		fi
		shown=$tenth
		if [ "$ms" -gt $((progress_limit * 1000)) ]; then
			progress_trouble
			return 1
		fi
		# between two looks; what ends the wait is the count
		sleep 0.05
	done
	[ ! -t 1 ] || echo
}

# progress_line SETTLED EXPECTED MS
progress_line()
{
	local full=$(($1 * progress_width / $2)) bar

	printf -v bar '%*s' "$full" ''
	printf '[%-*s] %3d %%  %5d of %d contacts  %d.%d s' "$progress_width" "${bar// /#}" \
		$(($1 * 100 / $2)) "$1" "$2" $(($3 / 1000)) $(($3 % 1000 / 100))
}

progress_trouble()
{
	{
		echo
		echo "This takes too long.  What the extension says about it:"
		cluster_psql -x -c 'SELECT * FROM contacts_push.progress' \
			-c 'SELECT * FROM contacts_push.worker' || :
		echo "The end of the server's log:"
		tail -n 20 "$CLUSTER.log"
	} >&2
}
