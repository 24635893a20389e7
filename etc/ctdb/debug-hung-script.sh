#!/bin/sh
# debug-hung-script.sh PID EVENT: tells what an event script waits for that has run out of time. Enabled by
# "debug script" in the section [event] of ctdb.conf. PID is that of the script.

[ -n "$CTDB_BASE" ] || CTDB_BASE=/etc/ctdb
# shellcheck source=etc/ctdb/functions
. "$CTDB_BASE/functions"

load_script_options

[ $# -eq 2 ] || die "usage: ${0##*/} PID EVENT"

# suspects TREE PATTERN: prints "PID NAME" of the processes that often hang: those that go to a file system or to a
# service. A line of the tree is "  |-NAME,PID ARGUMENTS".
suspects()
{
	echo "$1" | sed -nE "s/^([^,]*-)?([^,]*($2)[^,]*),([0-9]+).*/\4 \2/p"
}

report()
{
	echo "===== Start of hung script debug for PID=\"$1\", event=\"$2\" ====="
	tree=$(pstree -p -a "$1")
	echo "pstree -p -a $1:"
	echo "$tree"
	suspects "$tree" "${CTDB_DEBUG_HUNG_SCRIPT_STACKPAT:-exportfs|rpcinfo}" | print_stacks
	# The event daemon has no status of the first event yet.
	if [ "$2" != init ]; then
		echo "---- ctdb scriptstatus $2: ----"
		"$CTDB" scriptstatus "$2"
	fi
	echo "===== End of hung script debug for PID=\"$1\", event=\"$2\" ====="
}

print_stacks()
{
	while read -r pid name; do
		# Only root may read it, and the process can have ended.
		stack=$(get_proc "$pid/stack" 2>/dev/null) || continue
		echo "---- Stack trace of process $pid [$name] ----"
		echo "$stack"
	done
}

if [ -n "$CTDB_DEBUG_HUNG_SCRIPT_LOGFILE" ]; then
	exec >>"$CTDB_DEBUG_HUNG_SCRIPT_LOGFILE.part" 2>&1
fi

# Two reports at a time would be one that nobody can read.
(
	flock -w 2 9 || exit 1
	report "$1" "$2"
) 9>"$CTDB_SCRIPT_VARDIR/debug-hung-script.lock"
result=$?

# Under its own name only when it is complete: tests wait for it.
[ -z "$CTDB_DEBUG_HUNG_SCRIPT_LOGFILE" ] ||
	mv "$CTDB_DEBUG_HUNG_SCRIPT_LOGFILE.part" "$CTDB_DEBUG_HUNG_SCRIPT_LOGFILE"
exit $result
