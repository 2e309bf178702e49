# shellcheck shell=bash
#
# dev/package.sh
#	The part "package" of dev/test: the Debian package is built, and installed and tried where
#	nothing else is.  To be sourced, after dev/parts.sh; inside a system of dev/release.

# how many tests there were
tried=0

# try NAME CMD...: runs it as a test, and says how it ended.
try()
{
	local name=$1 status=0

	shift
	tried=$((tried + 1))
	"$@" || status=$?
	if [ "$status" -eq 0 ]; then
		echo "ok $tried - $name"
	else
		echo "not ok $tried - $name"
	fi
	return "$status"
}

build_package()
{
	as_user mkdir "$package" &&
		as_user cp -R "$SOURCE" "$package/source" &&
		as_user_in "$package/source" pg_buildext updatecontrol &&
		as_user_in "$package/source" dpkg-buildpackage -b --no-sign "-j$(nproc)"
}

check_package()
{
	as_user_in "$package" sh -c 'lintian --display-info --fail-on error,warning \
		--suppress-tags initial-upload-closes-no-bugs ./*.changes'
}

# in_clean COMMANDS: runs them in the clean system.  In namespaces.
in_clean()
{
	chroot "$PRIVATE/clean" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive sh -exc "$1"
}

# Has the package installed with nothing but what it asks for, and then runs its tests as
# autopkgtest would.  In namespaces, with which the mounts vanish.
use_package()
{
	mount -t proc proc "$PRIVATE/clean/proc"
	mount --rbind /dev "$PRIVATE/clean/dev"
	mount --bind "$package" "$PRIVATE/clean/srv"
	try 'it can be installed, and what it needs comes with it' in_clean '
		apt-get -q update
		apt-get -q install -y --no-install-recommends /srv/*-contacts-push_*.deb
		ldd /usr/lib/postgresql/*/lib/contacts_push.so >/tmp/libraries
		! grep "not found" /tmp/libraries
		ls /usr/share/postgresql/*/extension/contacts_push--1.0.sql' || return
	# shellcheck disable=SC2016 # the shell in there expands it
	try 'it pushes a watched table' in_clean '
		cd /srv/source
		apt-get -q install -y --no-install-recommends \
			$(sed -n "s/^Depends: @, //p" debian/tests/control | sed "s/ *|[^,]*//g; s/,//g")
		debian/tests/drain'
}

part_package()
{
	local -x package=$WORK/package

	try 'the package is built' build_package || return
	try 'lintian has nothing against it' check_package || return
	mkdir "$PRIVATE/clean"
	# shellcheck disable=SC2154 # from dev/parts.sh
	tar -C "$PRIVATE/clean" -xf "$clean_system"
	# no service is to begin to run
	printf '#!/bin/sh\nexit 101\n' >"$PRIVATE/clean/usr/sbin/policy-rc.d"
	chmod +x "$PRIVATE/clean/usr/sbin/policy-rc.d"
	interruptible unshare --mount --pid --ipc --fork --kill-child -- bash -euo pipefail -c \
		"$(declare -p PRIVATE package tried); $(declare -f try in_clean use_package); use_package"
}
