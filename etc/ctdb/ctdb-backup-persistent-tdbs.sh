#!/bin/sh
# Writes the persistent databases into a compressed archive.

usage()
{
	cat >&2 <<END
usage: ${0##*/} [-l | -L CODE] [-m MODE] DIRECTORY
  -l        do nothing unless this node is the leader: the databases are the same on every node
  -L CODE   the same, and exit with CODE on other nodes
  -m MODE   permissions of DIRECTORY (0700): the databases contain passwords
END
	exit 1
}

fail()
{
	echo "ERROR: $*"
	exit 1
}

# back_up DIRECTORY-OF-ARCHIVE: one file for each persistent database.
back_up()
{
	map=$("$ctdb" -X getdbmap) || fail "ctdbd does not list its databases; is it running?"
	echo "$map" | awk -F '|' '$5 == "1" { print $3 }' | while IFS= read -r name; do
		"$ctdb" backupdb "$name" "$1/$name.backup" </dev/null || exit 1
	done || fail "a database could not be backed up; no archive is written"
}

ctdb="${CTDB:-ctdb}"
leader_only=false
other_code=0
mode=0700
while getopts lL:m:h option; do
	case "$option" in
	l) leader_only=true ;;
	L)
		leader_only=true
		other_code="$OPTARG"
		;;
	m) mode="$OPTARG" ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage
directory="$1"
[ -d "$directory" ] || fail "$directory is not a directory; make it, or check that its file system is mounted"

if $leader_only && [ "$("$ctdb" pnn)" != "$("$ctdb" leader)" ]; then
	exit "$other_code"
fi

# Before there is anything in it.
chmod "$mode" "$directory" || fail "cannot set the permissions of $directory to $mode"
name="ctdb-persistent-db-backup-$(date +%Y%m%d%H%M%S)"
work="$directory/$name"
trap 'rm -rf "$work" "$work.tgz.part"' EXIT
trap 'exit 1' INT TERM
mkdir "$work" || fail "cannot make $work"
back_up "$work"
# Under its own name only when it is whole.
tar -C "$directory" -czf "$work.tgz.part" "$name" || fail "cannot write $work.tgz; is the file system full?"
mv "$work.tgz.part" "$work.tgz"
echo "Created backup tarball $work.tgz"
