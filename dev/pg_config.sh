# shellcheck shell=bash
#
# dev/pg_config.sh
#	Which PostgreSQL is meant.  To be sourced; shared by dev/setup, which runs
#	before there is one, and by dev/lib.sh.

# Prints the path of the pg_config to use: $PG_CONFIG, else that of the newest
# server among Debian's, else the one in PATH.  Fails if there is none.
find_pg_config()
{
	local newest

	if [ -n "${PG_CONFIG:-}" ]; then
		command -v "$PG_CONFIG"
		return
	fi
	newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
	if [ -x "$newest" ]; then
		echo "$(dirname "$newest")/pg_config"
		return
	fi
	# Debian's wrapper of this name is there without any PostgreSQL and fails.
	pg_config --bindir >/dev/null 2>&1 && command -v pg_config
}

# pg_config_major PG_CONFIG: prints the major version.
pg_config_major()
{
	"$1" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'
}

# Whether the PostgreSQL that is meant has all that building and testing needs.
pg_config_is_complete()
{
	local pg_config pgxs

	pg_config=$(find_pg_config) || return
	pgxs=$("$pg_config" --pgxs)
	[ -e "$pgxs" ] && [ -x "$("$pg_config" --bindir)/postgres" ] &&
		[ -e "$("$pg_config" --includedir-server)/postgres.h" ]
}
