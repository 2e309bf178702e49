# shellcheck shell=bash
#
# dev/lib.sh
#	A private directory with everything in it that the scripts here make: a
#	copy of the sources, a PostgreSQL installation with the extension, and the
#	files of an unprivileged user who runs the servers.  To be sourced.
#
# Nothing is left outside that directory and nothing survives the script that
# made it, however it ends.  Servers themselves are in dev/cluster.sh; what is
# tested or shown belongs into neither.
#
# After private_begin:
#	CLONE		the clone that this script belongs to
#	PRIVATE		the private directory; the others are in it
#	SOURCE		copy of the sources, built there
#	ROOT		the installation's root, see private_root
#	WORK		the unprivileged user's
#	BIN			directory of PostgreSQL's programs below ROOT
#	FAKE_CHATBASE	the stand-in's program
#	PG_CONFIG	of the machine's PostgreSQL
#	AS_USER		what stands before a command to run it as that user

CLONE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=dev/pg_config.sh
. "$CLONE/dev/pg_config.sh"

# What hangs has to end some time.  Half an hour is many times what any part
# takes, on a slow machine under valgrind too.
command_limit=30m

PRIVATE=
# Another directory that private_end removes: one that can't lie in the private one.
PRIVATE_TOO=
AS_USER=()

# The copies have to be readable for the unprivileged user.
umask 022

# A server of the caller's, a jobserver of an outer make, or a proxy on the way
# to the stand-in must not be what is tested.  A new cluster's encoding comes
# from the locale, and UTF-8 is the one that JSON needs.
for variable in "${!PG@}"; do
	# PG_CONFIG and the PG_TEST_… of PostgreSQL's tests are meant for here
	[[ $variable == PG_* ]] || unset "$variable"
done
unset MAKEFLAGS MAKELEVEL CDPATH LANGUAGE "${!LC_@}"
export LANG=C.UTF-8
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost

# Makes the private directory and arranges for its end.
private_begin()
{
	trap private_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP

	# Not $TMPDIR: the other user may not get there, and the path of a socket
	# has to stay below 108 bytes.
	PRIVATE=$(mktemp -d /tmp/contacts_push.XXXXXX)
	chmod 0711 "$PRIVATE"
	SOURCE=$PRIVATE/source
	ROOT=$PRIVATE/root
	WORK=$PRIVATE/work
	PG_CONFIG=$(find_pg_config)
	BIN=$ROOT$("$PG_CONFIG" --bindir)
	export FAKE_CHATBASE=$SOURCE/test/fake_chatbase/fake_chatbase
	mkdir "$SOURCE" "$ROOT" "$PRIVATE/groups"
	mkdir -m 0700 "$WORK"
	choose_user
	export HOME=$WORK TMPDIR=$WORK
}

# Fills AS_USER: PostgreSQL's server refuses to run as root.
choose_user()
{
	local user=nobody

	[ "$(id -u)" -eq 0 ] || return 0
	if getent passwd postgres >/dev/null; then
		user=postgres
	fi
	chown "$user:" "$WORK"
	AS_USER=(setpriv "--reuid=$(id -u "$user")" "--regid=$(id -g "$user")" --init-groups --)
}

# as_user CMD...: runs it as the unprivileged user, in a directory that this
# user can enter.
as_user()
{
	(cd "$WORK" && exec "${AS_USER[@]}" "$@")
}

# interruptible CMD...: runs it so that a signal stops it at once.  A shell
# serves a trap only when its foreground command has ended, but interrupts a
# wait; CMD gets a process group of its own, which private_end then ends.  Fails
# with status 124 if it takes longer than command_limit.  Several may run at a
# time, in subshells.
interruptible()
{
	local status=0 group

	# A background command is born with SIGINT ignored, and what it starts
	# (psql, tests that send SIGINT) would inherit that.
	setsid env --default-signal=INT,QUIT \
		timeout --kill-after=10 "$command_limit" "$@" </dev/null &
	group=$!
	: >"$PRIVATE/groups/$group"
	wait "$group" || status=$?
	rm "$PRIVATE/groups/$group"
	return "$status"
}

# as_user_in DIR CMD...: the same as the unprivileged user, in DIR.
as_user_in()
{
	local dir=$1

	shift
	interruptible env --chdir="$dir" "${AS_USER[@]}" "$@"
}

# until_or SECONDS CMD...: waits until CMD succeeds; fails after SECONDS.
until_or()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# groups_are_gone GROUP...
groups_are_gone()
{
	local group

	for group in "$@"; do
		! kill -0 -- "-$group" 2>/dev/null || return
	done
}

# Ends what interruptible was running when a signal came, and before that the
# subshells that would go on when it has ended.
end_groups()
{
	local group groups=()

	jobs -p | xargs -r kill -TERM 2>/dev/null
	for group in "$PRIVATE"/groups/*; do
		group=${group##*/}
		[ "$group" != '*' ] || continue
		groups+=("$group")
		kill -TERM -- "-$group" 2>/dev/null || kill -TERM "$group" 2>/dev/null
	done
	until_or 10 groups_are_gone "${groups[@]}" ||
		for group in "${groups[@]}"; do
			kill -KILL -- "-$group" 2>/dev/null
		done
}

# Prints the processes whose program lies in the private directory, as those of
# PostgreSQL, of the stand-in and of the unit tests do.  Both users look: in a
# container not even root sees what the other's processes run.
strays()
{
	local find=(find /proc/[0-9]*/exe -maxdepth 0 -lname "$PRIVATE/*")

	{
		"${find[@]}"
		as_user "${find[@]}"
	} 2>/dev/null | cut -d / -f 3 | sort -u
}

no_strays()
{
	[ -z "$(strays)" ]
}

# Ends the servers that are still there: in an orderly way, so that they give
# their shared memory back, then by force.
end_servers()
{
	local file

	while IFS= read -r -d '' file; do
		as_user "$BIN/pg_ctl" -D "$(dirname "$file")" -m immediate -t 10 stop >/dev/null 2>&1
	done < <(find "$WORK" -name postmaster.pid -print0)
	strays | xargs -r kill -TERM 2>/dev/null
	until_or 5 no_strays || strays | xargs -r kill -KILL 2>/dev/null
	until_or 5 no_strays
}

# The EXIT trap: leaves no process and no file, and keeps the exit status.
private_end()
{
	local status=$?

	trap - EXIT
	trap '' INT TERM HUP
	set +e
	if [ -n "$PRIVATE" ]; then
		end_groups
		end_servers
		rm -rf "$PRIVATE" ${PRIVATE_TOO:+"$PRIVATE_TOO"}
	fi
	exit "$status"
}

# Prints, NUL-separated, what belongs to the sources: of a git clone all that
# isn't ignored, else everything.
source_files()
{
	local file

	cd "$CLONE" || return
	if [ -e .git ]; then
		# root may work in somebody else's clone, which git refuses at first
		git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
	else
		find . -type f -print0
	fi | while IFS= read -r -d '' file; do
		if [ -e "$file" ]; then
			printf '%s\0' "$file"
		fi
	done
}

# Copies the sources, so that a build can't pick up objects of another one
# (PGXS doesn't know which headers they depend on) and leaves none behind.
private_source()
{
	source_files | tar -C "$CLONE" --null -T - --mode='u=rwX,go=rX' -c |
		tar -C "$SOURCE" --no-same-owner -x
}

# Makes the installation below ROOT.  PostgreSQL's programs find their
# libraries and files relative to where they are themselves, with symbolic
# links resolved; so the programs are copied and the rest is linked, file by
# file: directories have to be real ones for installing into.
private_root()
{
	local from what

	mkdir -p "$BIN"
	cp -a "$("$PG_CONFIG" --bindir)/." "$BIN/"
	for what in --pkglibdir --sharedir --includedir-server; do
		from=$("$PG_CONFIG" "$what")
		mkdir -p "$ROOT$from"
		cp -rs "$from/." "$ROOT$from/"
	done
	# what PostgreSQL's tests ask about the build
	from=$("$PG_CONFIG" --includedir)
	cp -rs "$from"/pg_config*.h "$ROOT$from/"
	# what the machine itself has of the extension
	find "$ROOT" -name 'contacts_push*' -prune -exec rm -rf {} +
}

# private_make [ARG...]: make in the copy of the sources.  Without the bitcode that a JIT
# could inline: it doubles the time to build, and no test looks at it.
private_make()
{
	interruptible make -s -C "$SOURCE" --no-print-directory PG_CONFIG="$PG_CONFIG" with_llvm=no "$@"
}

# private_build [ARG...]: builds the extension and the stand-in, and installs
# the extension below ROOT.  The arguments go to make.
private_build()
{
	private_make -j "$(nproc)" "$@" all &&
		private_make "$@" fake &&
		private_make "$@" install DESTDIR="$ROOT"
}
