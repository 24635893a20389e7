//! The common controls as methods of [`Client`], answers typed. Each takes the node that is asked and how long to wait, and fails as
//! [`Client::control`] does, or with `BadAnswer`.

use std::time::Duration;

use ctdb_protocol::{
    AddrInfo, BanState, Capabilities, DbId, DbIdMap, DbStatistics, DbVacuum, DebugLevel, Generation, Iface,
    IfaceList, LtdbHeader, NodeFlagChange, NodeMap, Pnn, PublicIp, PublicIpInfo, PublicIpList, PullDbExt,
    RecBuffer, RecMode, Reply, Request, Runstate, SeqnumOf, SockAddr, Statistics, StatisticsList, Text,
    TickleList, TransDb, Tunable, TunableList, TunableName, Uptime, VnnMap,
};
use ctdb_protocol::{Connection, ControlFlags, KeyData, PidSrvid, Srvid};
use ctdb_tdb::TdbFlags;

use crate::{Client, ClientError, DbKind};

/// One line per control: what it does, `name(arguments) -> answer { request => answer's data => value }`.
macro_rules! typed_controls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty { $request:expr => $pattern:pat => $value:expr })*) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// Those of all controls of this module.
                pub async fn $name(&self, to: Pnn, $($arg: $ty,)* timeout: Duration) -> Result<$out, ClientError> {
                    let answer = self.control(to, &$request, timeout).await?;
                    match answer.reply()? {
                        $pattern => Ok($value),
                        _ => Err(answer.bad("the data of another control".to_owned())),
                    }
                }
            )*
        }
    };
}

// The node.
typed_controls! {
    /// Counters.
    statistics() -> Box<Statistics> { Request::Statistics => Reply::Statistics(all) => all }
    /// Sets all counters to 0.
    statistics_reset() -> () { Request::StatisticsReset => Reply::Empty => () }
    /// Counters of the last hundred intervals, the newest first.
    get_stat_history() -> StatisticsList { Request::GetStatHistory => Reply::GetStatHistory(list) => list }
    /// Times of the start and of the last recovery.
    uptime() -> Uptime { Request::Uptime => Reply::Uptime(uptime) => uptime }
    /// How far the start of the daemon has come.
    get_runstate() -> Runstate { Request::GetRunstate => Reply::GetRunstate(state) => state }
    /// What the node can do.
    get_capabilities() -> Capabilities { Request::GetCapabilities => Reply::GetCapabilities(set) => set }
    /// Log level.
    get_debug() -> DebugLevel { Request::GetDebug => Reply::GetDebug(level) => level }
    /// Changes the log level.
    set_debug(level: DebugLevel) -> () { Request::SetDebug(level) => Reply::Empty => () }
    /// A report about the daemon's memory.
    dump_memory() -> String { Request::DumpMemory => Reply::DumpMemory(text) => String::from_utf8_lossy(text.0).into_owned() }
}

// Nodes of the cluster.
typed_controls! {
    /// All nodes as this one sees them.
    get_nodemap() -> NodeMap { Request::GetNodemap => Reply::GetNodemap(map) => map }
    /// The nodes file as it is on this node's disk now.
    get_nodes_file() -> NodeMap { Request::GetNodesFile => Reply::GetNodesFile(map) => map }
    /// Reads the nodes file again.
    reload_nodes_file() -> () { Request::ReloadNodesFile => Reply::Empty => () }
    /// Tells a node the flags of another one.
    modify_flags(change: NodeFlagChange) -> () { Request::ModifyFlags(change) => Reply::Empty => () }
    /// Takes the node out of the cluster.
    stop_node() -> () { Request::StopNode => Reply::Empty => () }
    /// Takes a stopped node into the cluster again.
    continue_node() -> () { Request::ContinueNode => Reply::Empty => () }
    /// The node serves no addresses any more.
    disable_node() -> () { Request::DisableNode => Reply::Empty => () }
    /// The node serves addresses again.
    enable_node() -> () { Request::EnableNode => Reply::Empty => () }
    /// Whether the node may be location master.
    set_lmaster_role(may: bool) -> () { Request::SetLmasterRole(may.into()) => Reply::Empty => () }
    /// Whether the node may lead.
    set_leader_role(may: bool) -> () { Request::SetRecmasterRole(may.into()) => Reply::Empty => () }
    /// Bans the node for a time, or ends the ban (0 seconds).
    set_ban_state(state: BanState) -> () { Request::SetBanState(state) => Reply::Empty => () }
    /// For how long the node is banned; 0 seconds: not at all.
    get_ban_state() -> BanState { Request::GetBanState => Reply::GetBanState(state) => state }
}

// Recovery.
typed_controls! {
    /// Generation and location masters.
    get_vnnmap() -> VnnMap { Request::GetVnnmap => Reply::GetVnnmap(map) => map }
    /// Sets generation and location masters; only in recovery.
    set_vnnmap(map: VnnMap) -> () { Request::SetVnnmap(map.clone()) => Reply::Empty => () }
    /// Begins or ends a recovery on the node.
    set_recmode(mode: RecMode) -> () { Request::SetRecmode(mode) => Reply::Empty => () }
    /// Freezes all databases.
    freeze() -> () { Request::Freeze => Reply::Empty => () }
    /// Runs the event of a recovery's start.
    start_recovery() -> () { Request::StartRecovery => Reply::Empty => () }
    /// Runs the event of a recovery's end.
    end_recovery() -> () { Request::EndRecovery => Reply::Empty => () }
    /// The recovery daemon lives.
    recd_ping() -> () { Request::RecdPing => Reply::Empty => () }
    /// How long the recovery daemon waited for the cluster lock, seconds.
    recd_reclock_latency(seconds: f64) -> () { Request::RecdReclockLatency(seconds) => Reply::Empty => () }
    /// The setting of the cluster lock; `None` without one.
    get_reclock_file() -> Option<String> {
        Request::GetReclockFile => Reply::GetReclockFile(file) => file.map(|file| file.to_string())
    }
    /// Freezes one database.
    db_freeze(db: DbId) -> () { Request::DbFreeze(db) => Reply::Empty => () }
    /// Ends [`Client::db_freeze`].
    db_thaw(db: DbId) -> () { Request::DbThaw(db) => Reply::Empty => () }
    /// Begins the transaction of a recovery.
    db_transaction_start(db: DbId, generation: Generation) -> () {
        Request::DbTransactionStart(TransDb { db_id: db, tid: generation.0 }) => Reply::Empty => ()
    }
    /// Commits the transaction of a recovery.
    db_transaction_commit(db: DbId, generation: Generation) -> () {
        Request::DbTransactionCommit(TransDb { db_id: db, tid: generation.0 }) => Reply::Empty => ()
    }
    /// Undoes the transaction of a recovery.
    db_transaction_cancel(db: DbId) -> () { Request::DbTransactionCancel(db) => Reply::Empty => () }
    /// Empties a database within a transaction.
    wipe_database(db: DbId, generation: Generation) -> () {
        Request::WipeDatabase(TransDb { db_id: db, tid: generation.0 }) => Reply::Empty => ()
    }
    /// All records of a database come as messages to `srvid`, then the answer: how many.
    db_pull(db: DbId, srvid: Srvid) -> u32 {
        Request::DbPull(PullDbExt::new(db, srvid)) => Reply::DbPull(records) => records
    }
    /// Records will be sent as messages to `srvid`.
    db_push_start(db: DbId, srvid: Srvid) -> () {
        Request::DbPushStart(PullDbExt::new(db, srvid)) => Reply::Empty => ()
    }
    /// How many records came by messages.
    db_push_confirm(db: DbId) -> u32 {
        Request::DbPushConfirm(db) => Reply::DbPushConfirm(records) => records
    }
}

// Databases.
typed_controls! {
    /// The databases of the node.
    get_dbmap() -> DbIdMap { Request::GetDbmap => Reply::GetDbmap(map) => map }
    /// File of a database.
    get_dbpath(db: DbId) -> String { Request::GetDbPath(db) => Reply::GetDbPath(path) => path.to_string() }
    /// Name of a database.
    get_dbname(db: DbId) -> String { Request::GetDbName(db) => Reply::GetDbName(name) => name.to_string() }
    /// Forgets a volatile database, on all nodes.
    db_detach(db: DbId) -> () { Request::DbDetach(db) => Reply::Empty => () }
    /// What the file has to be opened with.
    db_open_flags(db: DbId) -> TdbFlags {
        Request::DbOpenFlags(db) => Reply::DbOpenFlags(flags) => TdbFlags::from_bits_retain(flags.cast_unsigned())
    }
    /// Allows read-only copies of records.
    set_db_readonly(db: DbId) -> () { Request::SetDbReadonly(db) => Reply::Empty => () }
    /// Holds hot records back from migrating.
    set_db_sticky(db: DbId) -> () { Request::SetDbSticky(db) => Reply::Empty => () }
    /// Declares a database healthy.
    db_set_healthy(db: DbId) -> () { Request::DbSetHealthy(db) => Reply::Empty => () }
    /// Why a database is not healthy; `None` when it is.
    db_get_health(db: DbId) -> Option<String> {
        Request::DbGetHealth(db) => Reply::DbGetHealth(reason) => reason.map(|reason| reason.to_string())
    }
    /// Sequence number of a database.
    get_db_seqnum(db: DbId) -> u64 {
        Request::GetDbSeqnum(SeqnumOf { db_id: db }) => Reply::GetDbSeqnum(number) => number
    }
    /// Counters of a database.
    db_statistics(db: DbId) -> Box<DbStatistics> {
        Request::GetDbStatistics(db) => Reply::GetDbStatistics(all) => all
    }
    /// Vacuums a database now.
    db_vacuum(db: DbId, full: bool) -> () {
        Request::DbVacuum(DbVacuum { db_id: db, full }) => Reply::Empty => ()
    }
    /// A deleted record, whose header is still in the file, may be cleaned away by vacuuming.
    schedule_for_deletion(db: DbId, header: LtdbHeader, key: &[u8]) -> () {
        Request::ScheduleForDeletion(KeyData { db_id: db, header, key }) => Reply::Empty => ()
    }
    /// Commits changes of a persistent or replicated database on all nodes.
    trans3_commit(records: RecBuffer<'_>) -> () { Request::Trans3Commit(records) => Reply::Empty => () }
}

// Tunables.
typed_controls! {
    /// Value of a tunable.
    get_tunable(name: &str) -> u32 {
        Request::GetTunable(TunableName(Text::from(name))) => Reply::GetTunable(value) => value
    }
    /// Names of all tunables.
    list_tunables() -> Vec<String> {
        Request::ListTunables => Reply::ListTunables(list) => list.names().map(|name| name.to_string()).collect()
    }
    /// All tunables.
    get_all_tunables() -> Box<TunableList> { Request::GetAllTunables => Reply::GetAllTunables(all) => all }
}

// Addresses.
typed_controls! {
    /// All public addresses of the node and who serves them.
    get_public_ips() -> PublicIpList { Request::GetPublicIps => Reply::GetPublicIps(list) => list }
    /// One public address.
    get_public_ip_info(address: SockAddr) -> PublicIpInfo {
        Request::GetPublicIpInfo(address) => Reply::GetPublicIpInfo(info) => info
    }
    /// Serve an address.
    takeover_ip(ip: PublicIp) -> () { Request::TakeoverIp(ip) => Reply::Empty => () }
    /// Do not serve an address any more; another node will.
    release_ip(ip: PublicIp) -> () { Request::ReleaseIp(ip) => Reply::Empty => () }
    /// A takeover run is over.
    ipreallocated() -> () { Request::Ipreallocated => Reply::Empty => () }
    /// A takeover run begins.
    start_ipreallocate() -> () { Request::StartIpreallocate => Reply::Empty => () }
    /// Reads the public addresses file again.
    reload_public_ips() -> () { Request::ReloadPublicIps => Reply::Empty => () }
    /// Adds a public address.
    add_public_ip(info: AddrInfo<'_>) -> () { Request::AddPublicIp(info) => Reply::Empty => () }
    /// Removes a public address.
    del_public_ip(info: AddrInfo<'_>) -> () { Request::DelPublicIp(info) => Reply::Empty => () }
    /// Announces an address to the network.
    send_gratuitous_arp(info: AddrInfo<'_>) -> () { Request::SendGratuitousArp(info) => Reply::Empty => () }
    /// Interfaces and their links.
    get_ifaces() -> IfaceList { Request::GetIfaces => Reply::GetIfaces(list) => list }
    /// Declares a link up or down.
    set_iface_link_state(iface: Iface) -> () { Request::SetIfaceLinkState(iface) => Reply::Empty => () }
    /// Connections that get a tickle when the address moves.
    get_tcp_tickle_list(address: SockAddr) -> TickleList {
        Request::GetTcpTickleList(address) => Reply::GetTcpTickleList(list) => list
    }
    /// Adds a connection to the tickle list.
    tcp_add_delayed_update(connection: Connection) -> () {
        Request::TcpAddDelayedUpdate(connection) => Reply::Empty => ()
    }
    /// Removes a connection from the tickle list.
    tcp_remove(connection: Connection) -> () { Request::TcpRemove(connection) => Reply::Empty => () }
}

/// Controls that answer by their status, and those that are several.
impl Client {
    /// Number of clients that are connected to the node.
    ///
    /// # Errors
    /// Those of all controls of this module.
    pub async fn ping(&self, to: Pnn, timeout: Duration) -> Result<u32, ClientError> {
        self.status_of(to, Request::Ping, timeout).await
    }

    /// Process id of the daemon.
    ///
    /// # Errors
    /// Those of all controls of this module.
    pub async fn get_pid(&self, to: Pnn, timeout: Duration) -> Result<u32, ClientError> {
        self.status_of(to, Request::GetPid, timeout).await
    }

    /// Number of the node.
    ///
    /// # Errors
    /// Those of all controls of this module.
    pub async fn get_pnn(&self, to: Pnn, timeout: Duration) -> Result<Pnn, ClientError> {
        self.status_of(to, Request::GetPnn, timeout).await.map(Pnn)
    }

    /// Whether the node is in recovery.
    ///
    /// # Errors
    /// Those of all controls of this module.
    pub async fn get_recmode(&self, to: Pnn, timeout: Duration) -> Result<RecMode, ClientError> {
        let answer = self.control(to, &Request::GetRecmode, timeout).await?;
        RecMode::try_from(answer.status.cast_unsigned()).map_err(|error| answer.bad(error.to_string()))
    }

    /// Whether a process is a client of the node and lives. A node that cannot tell counts as "no".
    ///
    /// # Errors
    /// Those of all controls of this module, but `Status`.
    pub async fn process_exists(&self, to: Pnn, pid: i32, timeout: Duration) -> Result<bool, ClientError> {
        let answer = self
            .control_raw(to, &Request::ProcessExists(pid), timeout)
            .await?;
        Ok(answer.status == 0)
    }

    /// As [`Client::process_exists`], for a client that also registered a service.
    ///
    /// # Errors
    /// As there.
    pub async fn check_pid_srvid(
        &self,
        to: Pnn,
        pid: i32,
        srvid: Srvid,
        timeout: Duration,
    ) -> Result<bool, ClientError> {
        let request = Request::CheckPidSrvid(PidSrvid { pid, srvid });
        Ok(self.control_raw(to, &request, timeout).await?.status == 0)
    }

    /// Changes a tunable; `false` when it is obsolete and has no effect.
    ///
    /// # Errors
    /// Those of all controls of this module.
    pub async fn set_tunable(
        &self,
        to: Pnn,
        name: &str,
        value: u32,
        timeout: Duration,
    ) -> Result<bool, ClientError> {
        let name = Text::from(name);
        let request = Request::SetTunable(Tunable { value, name });
        let answer = self.control_raw(to, &request, timeout).await?;
        if answer.status == 1 {
            return Ok(false);
        }
        answer.checked().map(|_| true)
    }

    /// Makes the node know a database, and all other nodes with it; its id.
    ///
    /// # Errors
    /// Those of all controls of this module.
    pub async fn attach(
        &self,
        to: Pnn,
        kind: DbKind,
        name: &str,
        flags: ControlFlags,
        timeout: Duration,
    ) -> Result<DbId, ClientError> {
        let request = kind.attach_request(name);
        let answer = self.control_with_flags(to, &request, flags, timeout).await?;
        match answer.reply()? {
            Reply::DbAttach(id) | Reply::DbAttachPersistent(id) | Reply::DbAttachReplicated(id) => Ok(id),
            _ => Err(answer.bad("the data of another control".to_owned())),
        }
    }

    /// Public addresses that the node could serve now and who serves them.
    ///
    /// # Errors
    /// Those of all controls of this module.
    pub async fn get_available_public_ips(
        &self,
        to: Pnn,
        timeout: Duration,
    ) -> Result<PublicIpList, ClientError> {
        let flags = ControlFlags::PUBLIC_IP_ONLY_AVAILABLE;
        let answer = self
            .control_with_flags(to, &Request::GetPublicIps, flags, timeout)
            .await?;
        match answer.reply()? {
            Reply::GetPublicIps(list) => Ok(list),
            _ => Err(answer.bad("the data of another control".to_owned())),
        }
    }

    async fn status_of(
        &self,
        to: Pnn,
        request: Request<'static>,
        timeout: Duration,
    ) -> Result<u32, ClientError> {
        let answer = self.control(to, &request, timeout).await?;
        Ok(answer.status.cast_unsigned())
    }
}
