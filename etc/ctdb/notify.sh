#!/bin/sh
# notify.sh EVENT: tells the programs events/notification/*.script beside it, if they are executable. EVENT is init,
# setup, startup, healthy or unhealthy. Fails if one of them does, after all have run.

result=0
for script in "$(dirname "$0")"/events/notification/*.script; do
	[ -x "$script" ] || continue
	"$script" "$1" || result=1
done
exit $result
