#!/bin/sh
# Takes the public addresses, and that of the NAT gateway, off this host if ctdbd does not run: it can have crashed,
# and another node hosts them by now. To be run by cron.

[ -n "$CTDB_BASE" ] || CTDB_BASE=/etc/ctdb
# shellcheck source=etc/ctdb/functions
. "$CTDB_BASE/functions"

! service ctdb status >/dev/null 2>&1 || exit 0

load_script_options failover 11.natgw

have_public_addresses || die "$CTDB_BASE/public_addresses does not exist: there are no addresses to be removed"

{
	drop_all_public_ips
	[ -z "$CTDB_NATGW_PUBLIC_IP" ] || drop_ip "$CTDB_NATGW_PUBLIC_IP"
} 2>&1 | script_log "$script_name"
