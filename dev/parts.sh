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
	cluster_start "cluster_$part" && fake_start || return
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

# part_tap [FILE...]: FILE is relative to the clone.
part_tap()
{
	local dir status=0 files=("$@")

	dir=$(copy_folders tap t) || return
	if [ $# -eq 0 ]; then
		mapfile -t files < <(cd "$dir" && compgen -G 't/*.pl')
	fi
	[ ${#files[@]} -gt 0 ] || return
	# as PostgreSQL's Makefile.global calls it, from 15 (TESTDIR) on
	as_user_in "$dir" env PATH="$BIN:$PATH" TESTDIR="$dir" \
		TESTDATADIR="$dir/tmp_check" TESTLOGDIR="$dir/tmp_check/log" \
		PG_REGRESS="$(pgxs_dir)/test/regress/pg_regress" PGPORT=65432 \
		prove -v -I "$(pgxs_dir)/test/perl" -I t/lib "${files[@]}" || status=$?
	if [ "$status" -ne 0 ] && [ -d "$dir/tmp_check/log" ]; then
		keep tap "$dir/tmp_check/log"
	fi
	return "$status"
}
