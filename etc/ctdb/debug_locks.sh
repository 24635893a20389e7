#!/bin/sh
# debug_locks.sh PID DB|RECORD TDB FCNTL|MUTEX: tells which processes hold locks of a database file, and where they
# are, because the lock helper PID has waited long for one. Enabled by "lock debug script" in the section [database]
# of ctdb.conf.

[ -n "$CTDB_BASE" ] || CTDB_BASE=/etc/ctdb
# shellcheck source=etc/ctdb/functions
. "$CTDB_BASE/functions"

[ $# -eq 4 ] || die "usage: ${0##*/} PID DB|RECORD TDB FCNTL|MUTEX"

waiter="$1"
tdb="$3"
kind="$4"

# The file as /proc/locks names it: major:minor:inode, the first two in hexadecimal, taken from the C library's number.
file_id()
{
	stat -c '%d %i' "$1" 2>/dev/null | {
		read -r device inode || die "cannot find the database file $1"
		printf '%02x:%02x:%s\n' $((device >> 8 & 0xfff)) $((device & 0xff | device >> 12 & ~0xff)) "$inode"
	}
}

name_of()
{
	ps -p "$1" -o comm=
}

# name_processes: adds the process name to lines "PID REST".
name_processes()
{
	while read -r pid rest; do
		echo "$pid $(name_of "$pid") $rest"
	done
}

# fcntl_waiters FILE-ID, fcntl_holders FILE-ID: "PID FILE FIRST-BYTE LAST-BYTE" for each lock of the file.
fcntl_waiters()
{
	get_proc locks | awk -v me="$waiter" -v id="$1" -v file="${tdb##*/}" \
		'$2 == "->" && $3 == "POSIX" && $5 == "WRITE" && $6 == me && $7 == id { print $6, file, $8, $9 }'
}

fcntl_holders()
{
	get_proc locks | awk -v me="$waiter" -v id="$1" -v file="${tdb##*/}" \
		'$2 == "POSIX" && $4 == "WRITE" && $5 != me && $6 == id { print $5, file, $7, $8 }'
}

# "PID FILE CHAIN" for each mutex in the file that is held.
mutex_holders()
{
	[ -x "$CTDB_HELPER_BINDIR/tdb_mutex_check" ] || {
		echo "tdb_mutex_check is not installed in $CTDB_HELPER_BINDIR: holders of mutexes cannot be told" >&2
		return
	}
	"$CTDB_HELPER_BINDIR/tdb_mutex_check" "$tdb" |
		sed -nE "s/^\[ *([0-9]+)\] pid=([0-9]+).*/\2 ${tdb##*/} \1/p"
}

print_stack()
{
	echo "----- Stack trace for PID=$1 -----"
	case "$(ps -p "$1" -o state=)" in
	'') echo "it has ended" ;;
	D*)
		# A debugger would hang with it.
		echo "----- It waits in the kernel and cannot be interrupted: stack of the kernel only"
		get_proc "$1/stack"
		;;
	*)
		if _have_program gstack; then
			gstack "$1"
		else
			gdb -batch -quiet -nx -p "$1" -ex 'thread apply all bt' 2>/dev/null | grep -E '^(#|Thread )'
		fi
		;;
	esac
}

titled()
{
	[ -z "$2" ] || printf '%s:\n%s\n' "$1" "$2"
}

report()
{
	echo "===== Start of debug locks PID=$$ ====="
	id=$(file_id "$tdb") && {
		titled "Waiter" "$(fcntl_waiters "$id" | name_processes)"
		holders=$(
			{
				fcntl_holders "$id"
				[ "$kind" != MUTEX ] || mutex_holders
			} | name_processes
		)
		titled "Lock holders" "$holders"
		echo "$holders" | awk -v me="$waiter" 'NF && $1 != me { print $1 }' | sort -un | while read -r pid; do
			print_stack "$pid" </dev/null
		done
	}
	echo "===== End of debug locks PID=$$ ====="
}

# Many helpers can wait for one lock: one report is enough, and debuggers stop what they look at.
{
	if flock -n 9; then
		report 2>&1
	fi
} 9>"$CTDB_SCRIPT_VARDIR/debug_locks.lock" | script_log "ctdbd-lock"
