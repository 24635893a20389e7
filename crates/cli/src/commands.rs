//! The one table of all commands, in the order of the usage.

use std::ffi::OsStr;
use std::future::Future;
use std::pin::Pin;

use ctdb_conf::Paths;

use crate::args::Args;
use crate::cmd::{
    addresses, administration, attaching, backup, databases, helpers, inspect, local_file, nodes_file,
    records, recovery, roles, statistics, status, transactions, tunables,
};
use crate::context::Context;
use crate::failure::Outcome;
use crate::options::Options;

/// What a command without a daemon works with.
pub struct Alone {
    /// What the line says.
    pub options: Options,
    /// Where files are.
    pub paths: Paths,
    /// Whether this process has just made itself a group of its own.
    pub in_own_group: bool,
}

/// A command without a daemon.
type Lonely = fn(&Alone, &Args<'_>) -> Outcome;
/// A command with one.
type Conversation = for<'a> fn(&'a Context, &'a Args<'a>) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// What a command needs.
#[derive(Clone, Copy)]
pub enum Run {
    /// Works without a daemon; no `-n`.
    Alone(Lonely),
    /// Asks the daemon, about any node.
    Node(Conversation),
    /// Asks the daemon, about its own node only.
    Own(Conversation),
}

/// A command.
#[derive(Clone, Copy)]
pub struct Command {
    /// As it is typed.
    pub name: &'static str,
    /// Its arguments, for the usage.
    pub args: &'static str,
    /// What it does, for the usage.
    pub help: &'static str,
    /// Its function.
    pub run: Run,
    /// Whether the usage names it.
    pub listed: bool,
}

/// The command of this name.
pub(crate) fn find(name: &OsStr) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The commands of the usage.
pub(crate) fn listed() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|command| command.listed)
}

/// `name(arguments) help => Needs function`.
macro_rules! commands {
    ($($name:literal($args:literal) $help:literal => $needs:ident $($function:ident)::+ $(, $hidden:ident)?;)*) => {
        static COMMANDS: &[Command] = &[$(
            Command {
                name: $name,
                args: $args,
                help: $help,
                run: commands!(@run $needs $($function)::+),
                listed: commands!(@listed $($hidden)?),
            },
        )*];
    };
    (@run Alone $function:path) => { Run::Alone($function) };
    (@run Node $function:path) => { Run::Node(|context, args| Box::pin($function(context, args))) };
    (@run Own $function:path) => { Run::Own(|context, args| Box::pin($function(context, args))) };
    (@listed) => { true };
    (@listed hidden) => { false };
}

commands! {
    "version"("") "say which version this is" => Alone inspect::version;
    "status"("") "nodes, generation, recovery mode and leader" => Node status::status;
    "uptime"("") "since when the daemon runs, and its last recovery" => Node inspect::uptime;
    "ping"("") "ask whether the daemon answers, and how fast" => Node inspect::ping;
    "runstate"("[setup|first_recovery|startup|running]") "how far the start has come; fails in other states than those named" => Node inspect::runstate;
    "getvar"("<name>") "value of a tunable" => Node tunables::getvar;
    "setvar"("<name> <value>") "change a tunable until the next start" => Node tunables::setvar;
    "listvars"("") "all tunables" => Node tunables::listvars;
    "statistics"("") "counters of the daemon" => Node statistics::statistics;
    "statisticsreset"("") "set the counters to zero" => Node statistics::reset;
    "stats"("[count]") "counters of the last intervals" => Node statistics::history;
    "ip"("[all]") "public addresses and their nodes" => Node addresses::ip;
    "ipinfo"("<ip>") "all about one public address" => Node addresses::ipinfo;
    "ifaces"("") "interfaces and their links" => Node addresses::ifaces;
    "setifacelink"("<iface> up|down") "declare a link up or down" => Node addresses::setifacelink;
    "process-exists"("<pid> [<srvid>]") "whether a process is a client of the node" => Node inspect::process_exists;
    "getdbmap"("") "attached databases" => Node databases::getdbmap;
    "getdbstatus"("<dbname|dbid>") "properties and health of a database" => Node databases::getdbstatus;
    "catdb"("<dbname|dbid>") "records of a database, of all nodes" => Own records::catdb;
    "cattdb"("<dbname|dbid>") "records of a database, as this node has them" => Own records::cattdb;
    "getcapabilities"("") "what the node may become" => Node inspect::getcapabilities;
    "pnn"("") "number of this node" => Own inspect::pnn;
    "lvs"("leader|list|status") "state of LVS" => Own helpers::lvs;
    "setdebug"("ERROR|WARNING|NOTICE|INFO|DEBUG") "how much the daemon logs from now on" => Node inspect::setdebug;
    "getdebug"("") "how much the daemon logs" => Node inspect::getdebug;
    "attach"("<dbname> [persistent|replicated]") "attach a database, new or not" => Own attaching::attach;
    "detach"("<dbname|dbid> ...") "forget databases" => Own attaching::detach;
    "dumpmemory"("") "memory of ctdbd" => Node inspect::dumpmemory;
    "rddumpmemory"("") "memory of the recovery daemon" => Node inspect::rddumpmemory;
    "getpid"("") "process number of ctdbd" => Node inspect::getpid;
    "disable"("") "take public addresses from a node" => Node administration::disable;
    "enable"("") "let a node have public addresses again" => Node administration::enable;
    "stop"("") "take a node out of the cluster" => Node administration::stop;
    "continue"("") "take a stopped node into the cluster again" => Node administration::r#continue;
    "ban"("<bantime>") "ban a node for so many seconds" => Node administration::ban;
    "unban"("") "end the ban of a node" => Node administration::unban;
    "shutdown"("") "end the daemon" => Node administration::shutdown;
    "recover"("") "have a recovery now" => Node recovery::recover;
    "sync"("") "older name of ipreallocate" => Node recovery::ipreallocate;
    "ipreallocate"("") "have the leader allocate public addresses now" => Node recovery::ipreallocate;
    "gettickles"("<ip> [<port>]") "connections that are told when an address moves" => Node addresses::gettickles;
    "listnodes"("") "the nodes file" => Alone nodes_file::listnodes;
    "reloadnodes"("") "have all nodes read their nodes files again" => Own nodes_file::reloadnodes;
    "backupdb"("<dbname|dbid> <file>") "write a database into a file" => Own backup::backupdb;
    "restoredb"("<file> [dbname]") "replace a database by a backup" => Own backup::restoredb;
    "dumpdbbackup"("<file>") "records of a backup" => Alone backup::dumpdbbackup;
    "wipedb"("<dbname|dbid>") "empty a database" => Own backup::wipedb;
    "leader"("") "number of the leader's node" => Node inspect::leader;
    // Older scripts know the leader by this name.
    "recmaster"("") "older name of leader" => Node inspect::leader, hidden;
    "event"("") "the event daemon and its scripts" => Alone helpers::event;
    "scriptstatus"("[init|setup|startup|monitor|takeip|releaseip|ipreallocated]") "how the scripts of an event ended" => Alone helpers::scriptstatus;
    "natgw"("leader|list|status") "state of the NAT gateway" => Own helpers::natgw;
    "getreclock"("") "the cluster lock's setting" => Node inspect::getreclock;
    "setlmasterrole"("on|off") "whether the node may be location master" => Node roles::setlmasterrole;
    "setleaderrole"("on|off") "whether the node may lead" => Node roles::setleaderrole;
    "setdbreadonly"("<dbname|dbid>") "allow read-only copies of records" => Node databases::setdbreadonly;
    "setdbsticky"("<dbname|dbid>") "hold hot records back from moving" => Node databases::setdbsticky;
    "pfetch"("<dbname|dbid> <key>") "a record of a persistent database" => Own transactions::pfetch;
    "pstore"("<dbname|dbid> <key> <value>") "change a record of a persistent database" => Own transactions::pstore;
    "pdelete"("<dbname|dbid> <key>") "delete a record of a persistent database" => Own transactions::pdelete;
    "ptrans"("<dbname|dbid> [<file>]") "change many records of a persistent database at once" => Own transactions::ptrans;
    "tfetch"("<tdb-file> <key> [<file>]") "a record of a file, its header too" => Node local_file::tfetch;
    "tstore"("<tdb-file> <key> <data> [<rsn> <dmaster> <flags>]") "put a record into a file" => Node local_file::tstore;
    "readkey"("<dbname|dbid> <key> [readonly]") "a record of a volatile database" => Own records::readkey;
    "writekey"("<dbname|dbid> <key> <value>") "change a record of a volatile database" => Own records::writekey;
    "deletekey"("<dbname|dbid> <key>") "delete a record of a volatile database" => Own records::deletekey;
    "checktcpport"("<port>") "whether somebody listens at a TCP port" => Alone inspect::checktcpport;
    "getdbseqnum"("<dbname|dbid>") "sequence number of a database" => Own databases::getdbseqnum;
    "nodestatus"("[all|<pnn-list>]") "state of nodes, as exit code too" => Node status::nodestatus;
    "dbstatistics"("<dbname|dbid>") "counters of a database" => Node statistics::dbstatistics;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_and_only_once() {
        for (place, command) in COMMANDS.iter().enumerate() {
            let found = COMMANDS.iter().position(|other| other.name == command.name);
            assert_eq!(found, Some(place), "{}", command.name);
        }
        assert!(find(OsStr::new("recmaster")).is_some_and(|command| !command.listed));
        assert!(find(OsStr::new("nope")).is_none());
    }
}
