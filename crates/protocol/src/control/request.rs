//! Data of requests.

use super::ControlError;
use crate::opcode::Status;
use crate::reader::{Reader, Wire, WireError};
use crate::text::Rest;
use crate::{
    AddrInfo, BanState, Connection, DbId, DbVacuum, DebugLevel, EchoData, Iface, KeyData, NodeFlagChange,
    NotifyData, Opcode, PidSrvid, PublicIp, PullDbExt, PushRecordData, RecBuffer, RecData, RecMode, SeqnumOf,
    SockAddr, Srvid, Text, TickleList, TransDb, TraverseAll, TraverseAllExt, TraverseStart, TraverseStartExt,
    Tunable, TunableName, VnnMap,
};

/// What the C daemon says to bytes behind the data that a control has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// Refuses them.
    Exact,
    /// Does not look.
    Any,
}

/// One line per control: `Variant(Data) = NUMBER, what becomes of further bytes`.
/// Source for the sizes: `ctdb/server/ctdb_control.c`, `CHECK_CONTROL_DATA_SIZE`, and the control's own function.
macro_rules! requests {
    ($($variant:ident $(($data:ty))? = $opcode:ident, $size:ident;)*) => {
        /// A control's question. The service or tunnel of those that register one is in
        /// [`crate::packet::ControlHead`].
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request<'a> {
            $(#[doc = concat!("`", stringify!($opcode), "`")] $variant $(($data))?,)*
        }

        impl<'a> Request<'a> {
            /// Types a control's data.
            ///
            /// # Errors
            /// `Obsolete` and `Unknown` for controls that are not served; `Malformed` for data that C refuses too.
            pub fn decode(opcode: Opcode, data: &'a [u8]) -> Result<Request<'a>, ControlError> {
                let mut r = Reader::new(data);
                match opcode {
                    $(Opcode::$opcode => requests!(@decode r, Size::$size, $variant $($data)?),)*
                    _ => return Err(not_served(opcode)),
                }
                .map_err(|error| ControlError::Malformed { opcode, error })
            }

            /// Appends the data.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(requests!(@pattern $variant, data $($data)?) => requests!(@encode out, data $($data)?),)*
                }
            }

            /// Number of the control.
            pub fn opcode(&self) -> Opcode {
                match self {
                    $(Request::$variant { .. } => Opcode::$opcode,)*
                }
            }
        }
    };
    (@decode $r:ident, $size:expr, $variant:ident) => {
        end(&$r, $size).map(|()| Request::$variant)
    };
    (@decode $r:ident, $size:expr, $variant:ident $data:ty) => {
        <$data>::decode(&mut $r).and_then(|data| end(&$r, $size).map(|()| Request::$variant(data)))
    };
    (@pattern $variant:ident, $data:ident) => { Request::$variant };
    (@pattern $variant:ident, $data:ident $ty:ty) => { Request::$variant($data) };
    (@encode $out:ident, $data:ident) => { {} };
    (@encode $out:ident, $data:ident $ty:ty) => { $data.encode($out) };
}

requests! {
    // The node.
    ProcessExists(i32) = PROCESS_EXISTS, Exact;
    Statistics = STATISTICS, Exact;
    StatisticsReset = STATISTICS_RESET, Exact;
    GetStatHistory = GET_STAT_HISTORY, Exact;
    Ping = PING, Exact;
    GetPid = GET_PID, Any;
    GetPnn = GET_PNN, Any;
    Uptime = UPTIME, Any;
    GetRunstate = GET_RUNSTATE, Exact;
    GetCapabilities = GET_CAPABILITIES, Any;
    GetDebug = GET_DEBUG, Exact;
    SetDebug(DebugLevel) = SET_DEBUG, Exact;
    DumpMemory = DUMP_MEMORY, Exact;
    Shutdown = SHUTDOWN, Any;
    Startup = STARTUP, Exact;
    EchoData(EchoData<'a>) = ECHO_DATA, Any;

    // Nodes of the cluster.
    GetNodemap = GET_NODEMAP, Any;
    GetNodesFile = GET_NODES_FILE, Any;
    ReloadNodesFile = RELOAD_NODES_FILE, Exact;
    ModifyFlags(NodeFlagChange) = MODIFY_FLAGS, Exact;
    StopNode = STOP_NODE, Exact;
    ContinueNode = CONTINUE_NODE, Exact;
    DisableNode = DISABLE_NODE, Exact;
    EnableNode = ENABLE_NODE, Exact;
    SetLmasterRole(u32) = SET_LMASTERROLE, Exact;
    SetRecmasterRole(u32) = SET_RECMASTERROLE, Exact;
    SetBanState(BanState) = SET_BAN_STATE, Exact;
    GetBanState = GET_BAN_STATE, Exact;

    // Recovery.
    GetVnnmap = GETVNNMAP, Any;
    SetVnnmap(VnnMap) = SETVNNMAP, Any;
    GetRecmode = GET_RECMODE, Any;
    SetRecmode(RecMode) = SET_RECMODE, Exact;
    Freeze = FREEZE, Exact;
    StartRecovery = START_RECOVERY, Any;
    EndRecovery = END_RECOVERY, Any;
    RecdPing = RECD_PING, Exact;
    RecdReclockLatency(f64) = RECD_RECLOCK_LATENCY, Exact;
    GetReclockFile = GET_RECLOCK_FILE, Exact;
    DbFreeze(DbId) = DB_FREEZE, Exact;
    DbThaw(DbId) = DB_THAW, Exact;
    DbTransactionStart(TransDb) = DB_TRANSACTION_START, Exact;
    DbTransactionCommit(TransDb) = DB_TRANSACTION_COMMIT, Exact;
    DbTransactionCancel(DbId) = DB_TRANSACTION_CANCEL, Exact;
    WipeDatabase(TransDb) = WIPE_DATABASE, Exact;
    DbPull(PullDbExt) = DB_PULL, Exact;
    DbPushStart(PullDbExt) = DB_PUSH_START, Exact;
    DbPushConfirm(DbId) = DB_PUSH_CONFIRM, Exact;

    // Databases.
    GetDbmap = GET_DBMAP, Any;
    GetDbPath(DbId) = GETDBPATH, Exact;
    GetDbName(DbId) = GET_DBNAME, Exact;
    DbAttach(Text<'a>) = DB_ATTACH, Any;
    DbAttachPersistent(Text<'a>) = DB_ATTACH_PERSISTENT, Any;
    DbAttachReplicated(Text<'a>) = DB_ATTACH_REPLICATED, Any;
    DbDetach(DbId) = DB_DETACH, Any;
    DbOpenFlags(DbId) = DB_OPEN_FLAGS, Exact;
    SetDbReadonly(DbId) = SET_DB_READONLY, Exact;
    SetDbSticky(DbId) = SET_DB_STICKY, Exact;
    DbSetHealthy(DbId) = DB_SET_HEALTHY, Exact;
    DbGetHealth(DbId) = DB_GET_HEALTH, Exact;
    GetDbSeqnum(SeqnumOf) = GET_DB_SEQNUM, Exact;
    EnableSeqnum(DbId) = ENABLE_SEQNUM, Exact;
    UpdateSeqnum(DbId) = UPDATE_SEQNUM, Exact;
    GetDbStatistics(DbId) = GET_DB_STATISTICS, Exact;
    DbVacuum(DbVacuum) = DB_VACUUM, Exact;

    // Records.
    UpdateRecord(RecBuffer<'a>) = UPDATE_RECORD, Any;
    Trans3Commit(RecBuffer<'a>) = TRANS3_COMMIT, Any;
    // Counters of a client; C looks at no data and has use for none.
    StartPersistentUpdate(Rest<'a>) = START_PERSISTENT_UPDATE, Any;
    CancelPersistentUpdate(Rest<'a>) = CANCEL_PERSISTENT_UPDATE, Any;
    TryDeleteRecords(RecBuffer<'a>) = TRY_DELETE_RECORDS, Any;
    VacuumFetch(RecBuffer<'a>) = VACUUM_FETCH, Any;
    ScheduleForDeletion(KeyData<'a>) = SCHEDULE_FOR_DELETION, Exact;
    PushRecord(PushRecordData<'a>) = PUSH_RECORD, Any;
    TraverseStart(TraverseStart) = TRAVERSE_START, Exact;
    TraverseStartExt(TraverseStartExt) = TRAVERSE_START_EXT, Exact;
    TraverseAll(TraverseAll) = TRAVERSE_ALL, Exact;
    TraverseAllExt(TraverseAllExt) = TRAVERSE_ALL_EXT, Exact;
    TraverseData(RecData<'a>) = TRAVERSE_DATA, Exact;
    TraverseKill(TraverseStart) = TRAVERSE_KILL, Exact;

    // Clients.
    RegisterSrvid = REGISTER_SRVID, Any;
    DeregisterSrvid = DEREGISTER_SRVID, Any;
    TunnelRegister = TUNNEL_REGISTER, Any;
    TunnelDeregister = TUNNEL_DEREGISTER, Any;
    RegisterNotify(NotifyData<'a>) = REGISTER_NOTIFY, Exact;
    DeregisterNotify(Srvid) = DEREGISTER_NOTIFY, Exact;
    CheckPidSrvid(PidSrvid) = CHECK_PID_SRVID, Exact;

    // Tunables.
    SetTunable(Tunable<'a>) = SET_TUNABLE, Any;
    GetTunable(TunableName<'a>) = GET_TUNABLE, Any;
    ListTunables = LIST_TUNABLES, Any;
    GetAllTunables = GET_ALL_TUNABLES, Exact;

    // Addresses.
    GetPublicIps = GET_PUBLIC_IPS, Exact;
    GetPublicIpInfo(SockAddr) = GET_PUBLIC_IP_INFO, Exact;
    TakeoverIp(PublicIp) = TAKEOVER_IP, Exact;
    ReleaseIp(PublicIp) = RELEASE_IP, Exact;
    Ipreallocated = IPREALLOCATED, Exact;
    StartIpreallocate = START_IPREALLOCATE, Exact;
    ReloadPublicIps = RELOAD_PUBLIC_IPS, Exact;
    AddPublicIp(AddrInfo<'a>) = ADD_PUBLIC_IP, Exact;
    DelPublicIp(AddrInfo<'a>) = DEL_PUBLIC_IP, Exact;
    SendGratuitousArp(AddrInfo<'a>) = SEND_GRATUITOUS_ARP, Exact;
    GetIfaces = GET_IFACES, Exact;
    SetIfaceLinkState(Iface) = SET_IFACE_LINK_STATE, Exact;
    TcpClient(Connection) = TCP_CLIENT, Exact;
    TcpClientDisconnected(Connection) = TCP_CLIENT_DISCONNECTED, Exact;
    TcpClientPassed(Connection) = TCP_CLIENT_PASSED, Exact;
    TcpAdd(Connection) = TCP_ADD, Exact;
    TcpAddDelayedUpdate(Connection) = TCP_ADD_DELAYED_UPDATE, Exact;
    TcpRemove(Connection) = TCP_REMOVE, Exact;
    GetTcpTickleList(SockAddr) = GET_TCP_TICKLE_LIST, Exact;
    SetTcpTickleList(TickleList) = SET_TCP_TICKLE_LIST, Any;
}

fn end(r: &Reader<'_>, size: Size) -> Result<(), WireError> {
    match size {
        Size::Exact => r.finish("data"),
        Size::Any => Ok(()),
    }
}

pub(super) fn not_served(opcode: Opcode) -> ControlError {
    match opcode.status() {
        Status::Obsolete { instead } => ControlError::Obsolete { opcode, instead },
        // The tests prove that every served control has its line.
        Status::Unknown | Status::Implemented => ControlError::Unknown(opcode),
    }
}
