# shellcheck shell=bash
#
# dev/parts.sh
#	How each part of the tests runs.  To be sourced, by dev/test, which counts
#	what the functions here print and reports it.
#
# Tests that need a server run as the unprivileged user in copies of their
# folders.  What they have to know comes through the environment:
# FAKE_CHATBASE (the stand-in's program) and, for regress and isolation,
# FAKE_CHATBASE_URL (of one that runs).

# Files of TAP tests that run at a time.
tap_jobs=$((6 * $(nproc)))

# The other Debian releases whose PostgreSQL is tested, and what dev/release fails with where
# it need not be there: the last one has a PostgreSQL that isn't released yet.
# shellcheck disable=SC2034 # for dev/test and .ci/run
releases=(trixie forky experimental)
# shellcheck disable=SC2034 # likewise
not_to_be_had=69				# EX_UNAVAILABLE in sysexits.h

# The one that the Debian package is built and installed in, unless another is named, and
# what tells that this is inside one: the archive that dev/release has put there.
# shellcheck disable=SC2034 # likewise
package_release=trixie
# shellcheck disable=SC2034 # likewise
clean_system=/var/cache/contacts_push/clean.tar

# Where dev/setup has put programs that are not installed.
programs=/var/cache/contacts_push/programs

# What part_tap runs unless it is told; none: all.
tap_files=()

# The files that depend most on what a PostgreSQL is like inside: how workers start, wait
# and end, recovery, rows written from C, logical decoding, dumps, upgrades, rights, settings.
# shellcheck disable=SC2034 # for dev/test
version_files=(t/004_drain.pl t/007_life.pl t/008_standby.pl t/015_crash.pl t/022_launcher.pl
	t/032_isolation_levels.pl t/035_dump.pl t/070_append.pl t/080_publications.pl
	t/082_server_settings.pl t/177_subscriber_tables.pl t/185_upgrade.pl)

# How much is shown of what a failed part, or a failed file of TAP tests, has
# printed, and of that file's log; the whole is in tmp_check/.
lines_shown=100
log_lines_shown=20

# keep PART FILE...: copies files of a failed part to the clone, for whom the
# clone belongs to.
keep()
{
	local to=$CLONE/tmp_check/$1

	shift
	mkdir -p "$to"
	cp -R "$@" "$to/"
	chown -R --reference="$CLONE" "$CLONE/tmp_check"
}

# Leaves out of a test's output that something passed.
without_passed()
{
	grep -Ev '^ *(ok|1\.\.)[ 0-9]|^ *# Subtest'
}

# copy_folders PART FOLDER...: a directory of the unprivileged user's with
# copies of the sources' folders; prints its path.
copy_folders()
{
	local dir=$WORK/$1 folder

	shift
	as_user mkdir "$dir"
	for folder in "$@"; do
		if [ -d "$SOURCE/$folder" ]; then
			as_user cp -R "$SOURCE/$folder" "$dir/"
		fi
	done
	echo "$dir"
}

# make_value NAME: prints a variable of the Makefile.
make_value()
{
	# shellcheck disable=SC2016 # make expands it
	make -s -C "$SOURCE" --no-print-directory PG_CONFIG="$PG_CONFIG" \
		--eval 'show_value: ; @echo $('"$1"')' show_value
}

# pgxs_dir: where PostgreSQL keeps its tests' programs and modules.
pgxs_dir()
{
	dirname "$(dirname "$("$PG_CONFIG" --pgxs)")"
}

part_unit()
{
	private_make -k unit COPT=-Werror
}

# The stand-in's own tests: what it doesn't do as the API does, no other test
# would notice.
part_fake()
{
	private_make fake COPT=-Werror &&
		interruptible env --chdir="$SOURCE/test/fake_chatbase" prove -v .
}

# listed_tests VARIABLE FILE...: prints the tests that the Makefile lists, in
# its order.  Fails if a file isn't among them: it would never run.
listed_tests()
{
	local listed file name

	listed=$(make_value "$1") || return
	shift
	for file in "$@"; do
		name=$(basename "${file%.*}")
		if [[ $name != *--* && " $listed " != *" $name "* ]]; then
			echo "$file isn't in the Makefile" >&2
			return 1
		fi
	done
	echo "$listed"
}

# run_regress PART PROGRAM OPTIONS TEST...: pg_regress or its like against a
# new cluster and a new stand-in.
run_regress()
{
	local part=$1 program=$2 options=$3 dir status=0

	shift 3
	dir=$(copy_folders "$part" sql specs expected) || return
	# what it does is tested, and not what is left when the machine fails
	cluster_start "cluster_$part" "fsync = off" && fake_start || return
	# shellcheck disable=SC2086 # several options
	FAKE_CHATBASE_URL=$FAKE_URL as_user_in "$dir" "$program" --bindir="$BIN" \
		--inputdir=. --outputdir=. $options "$@" || status=$?
	if [ "$status" -ne 0 ]; then
		cat "$dir/regression.diffs"
		keep "$part" "$dir/regression.diffs" "$dir/results" "$CLUSTER.log"
	fi
	fake_stop || status=$?
	cluster_stop || status=$?
	return "$status"
}

# part_regress [NAME...]
part_regress()
{
	local tests options

	tests=$(listed_tests REGRESS "$SOURCE"/sql/*.sql) || return
	options=$(make_value REGRESS_OPTS) || return
	[ $# -gt 0 ] && tests=$*
	# shellcheck disable=SC2086 # several tests
	run_regress regress "$(pgxs_dir)/test/regress/pg_regress" "$options" $tests
}

# part_isolation [NAME...]
part_isolation()
{
	local tests options

	tests=$(listed_tests ISOLATION "$SOURCE"/specs/*.spec) || return
	options=$(make_value ISOLATION_OPTS) || return
	[ $# -gt 0 ] && tests=$*
	# shellcheck disable=SC2086 # several tests
	run_regress isolation "$(pgxs_dir)/test/isolation/pg_isolation_regress" "$options" $tests
}

# as_tap_user_in DIR CMD...: as_user_in, as PostgreSQL's Makefile.global calls prove, from 15
# (TESTDIR) on.  DIR has t/ and template/.
as_tap_user_in()
{
	local dir=$1

	shift
	as_user_in "$dir" env PATH="$BIN:$PATH:$programs/usr/bin:$programs/usr/sbin" TESTDIR="$dir" \
		TESTDATADIR="$dir/tmp_check" TESTLOGDIR="$dir/tmp_check/log" \
		PG_REGRESS="$(pgxs_dir)/test/regress/pg_regress" PGPORT=65432 \
		CONTACTS_PUSH_TEMPLATE="$dir/template" \
		CONTACTS_PUSH_NODE_MODULES="$programs/signup/node_modules" \
		PERL5LIB="$(pgxs_dir)/test/perl:$dir/t/lib${PERL5LIB:+:$PERL5LIB}" "$@"
}

# part_tap [FILE...]: FILE is relative to the clone.  Files run side by side,
# more of them than there are processors: most of the time a test waits.  Those
# that say "Takes long" begin first, so that none runs on alone at the end.
#
# Each goes through a prove of its own.  With -j a single one would show neither
# the tests that passed nor which file a message belongs to.
part_tap()
{
	local dir status=0 files=("$@")

	dir=$(copy_folders tap t) || return
	# a later version, for ALTER EXTENSION ... UPDATE
	cp "$SOURCE"/test/update/*.sql "$ROOT$("$PG_CONFIG" --sharedir)/extension/" || return
	[ $# -gt 0 ] || files=("${tap_files[@]}")
	if [ ${#files[@]} -eq 0 ]; then
		mapfile -t files < <(cd "$dir" && grep -l '^# Takes long' t/*.pl; grep -L '^# Takes long' t/*.pl)
	fi
	[ ${#files[@]} -gt 0 ] || return
	as_user mkdir "$dir/out"
	as_user "$BIN/initdb" -N -A trust --encoding=UTF8 --no-locale -D "$dir/template" >/dev/null || return
	printf '%s\0' "${files[@]}" >"$PRIVATE/tap.files"
	# shellcheck disable=SC2016 # sh expands it
	as_tap_user_in "$dir" \
		xargs -0 -a "$PRIVATE/tap.files" -n 1 -P "$tap_jobs" \
		sh -c 'prove -v --timer "$1" >"out/${1##*/}" 2>&1' sh || status=$?
	for file in "${files[@]}"; do
		if [ ! -e "$dir/out/${file##*/}" ]; then
			echo "$file: never begun" | tee -a "$PRIVATE/tap.failed"
			continue
		fi
		cat "$dir/out/${file##*/}"
		grep -Eq '^Result: (PASS|NOTESTS)' "$dir/out/${file##*/}" || tap_failed "$dir" "$file"
	done
	return "$status"
}

# longest_files LOG: the three that took longest, of what part_tap has printed.
longest_files()
{
	sed -En 's|^(\[[0-9:]+\] )?(t/.*\.pl) \.\. *$|\2|p; s|^ok +([0-9]+) ms .*|\1|p' "$1" |
		awk '/^t\// { file = $0; next } { printf "%d %s %d s\n", $1, file, $1 / 1000 }' |
		sort -nr | head -n 3 | cut -d ' ' -f 2- | paste -sd, | sed 's/,/, /g'
}

# tap_failed DIR FILE: shows and keeps what a failed file has left.
tap_failed()
{
	local name=${2##*/}

	{
		echo "$2:"
		without_passed <"$1/out/$name" | tail -n "$lines_shown" | sed 's/^/    /'
		# what a test dies of, or waited for in vain, stands there only
		echo "  end of regress_log_${name%.pl}:"
		tail -n "$log_lines_shown" "$1/tmp_check/log/regress_log_${name%.pl}" | sed 's/^/    /'
	} >>"$PRIVATE/tap.failed"
	keep tap "$1"/tmp_check/log/*"${name%.pl}"*
}

# part_sanitize [FILE...]: part_tap with the sanitizers' library in every process, as
# the extension's needs it.  What they report fails the part, whatever the tests say.
# Leaks are not looked for: a server's memory is given back by contexts.
part_sanitize()
{
	local reports=$WORK/sanitizer status=0
	local -x LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS

	LD_PRELOAD="$(gcc -print-file-name=libasan.so) $SOURCE/test/sanitize/first.so"
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:log_path=$reports
	UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports
	part_tap "$@" || status=$?
	LD_PRELOAD=
	cp "$PRIVATE/tap.failed" "$PRIVATE/sanitize.failed" 2>/dev/null || true
	if compgen -G "$reports.*" >/dev/null; then
		cat "$reports".* | tee -a "$PRIVATE/sanitize.failed"
		keep sanitize "$reports".*
		status=1
	fi
	return "$status"
}
