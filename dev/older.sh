# shellcheck shell=bash
#
# dev/older.sh
#	The machine's own PostgreSQL with the extension, made to run inside another
#	Debian release, for the tests of pg_upgrade there.  To be sourced, after
#	dev/lib.sh; dev/release calls it.
#
# It is an installation like that of private_root, but with files for links.  Of the
# libraries that it was linked with it brings along what the release doesn't have:
# those of the same name there are as good, and the C library's only newer.

# Where it is seen inside.
# shellcheck disable=SC2034 # for dev/release
older_mount=/opt

# older_make DIR: makes the installation in DIR, and leaves in DIR.libraries which
# libraries it needs, a name and a path a line.
older_make()
{
	local SOURCE=$PRIVATE/older_source ROOT=$PRIVATE/older_root BIN

	BIN=$ROOT$("$PG_CONFIG" --bindir)
	mkdir "$SOURCE"
	private_source
	private_root
	private_make -j "$(nproc)" all && private_make install DESTDIR="$ROOT" || return
	cp -RL "$ROOT" "$1"
	ldd "$BIN"/* "$ROOT$("$PG_CONFIG" --pkglibdir)"/*.so 2>/dev/null |
		sed -n 's/^\t\([^ ]*\) => \(\/[^ ]*\) .*/\1 \2/p' | sort -u >"$1.libraries"
}

# older_prefix: prints the installation's prefix, below where it is seen.
older_prefix()
{
	dirname "$("$PG_CONFIG" --bindir)"
}

# older_add_libraries DIR SYSTEM: brings along what the release in SYSTEM doesn't have.
older_add_libraries()
{
	local name path have

	have=$(chroot "$2" /sbin/ldconfig -p)
	while read -r name path; do
		[[ $have == *$'\t'"$name "* ]] || cp -L "$path" "$1$(older_prefix)/lib/"
	done <"$1.libraries"
}
