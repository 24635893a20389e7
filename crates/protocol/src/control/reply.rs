//! Data of answers, when the status is not negative.

use super::ControlError;
use super::request::not_served;
use crate::opcode::Status;
use crate::reader::{Reader, Wire};
use crate::text::Rest;
use crate::{
    BanState, Capabilities, DbId, DbIdMap, DbStatistics, DebugLevel, EchoData, IfaceList, NodeMap, Opcode,
    PublicIpInfo, PublicIpList, RecBuffer, Runstate, Statistics, StatisticsList, Text, TickleList,
    TunableList, Uptime, VarList, VnnMap,
};

/// One line per control whose answer has data: `Variant(Data) = NUMBER`.
macro_rules! replies {
    ($($variant:ident($data:ty) = $opcode:ident;)*) => {
        /// A control's answer. Some controls answer by the status alone (PING, GET_PID, GET_PNN, GET_RECMODE).
        #[derive(Clone, Debug, PartialEq)]
        pub enum Reply<'a> {
            /// Any control that answers without data.
            Empty,
            $(#[doc = concat!("`", stringify!($opcode), "`")] $variant($data),)*
        }

        impl<'a> Reply<'a> {
            /// Types an answer's data. Bytes behind it are not looked at.
            ///
            /// # Errors
            /// `Malformed` for data too short or wrong; `Obsolete` and `Unknown` for controls that have no answer.
            pub fn decode(opcode: Opcode, data: &'a [u8]) -> Result<Reply<'a>, ControlError> {
                let mut r = Reader::new(data);
                match opcode {
                    $(Opcode::$opcode => <$data>::decode(&mut r).map(Reply::$variant),)*
                    _ if opcode.status() == Status::Implemented => Ok(Reply::Empty),
                    _ => return Err(not_served(opcode)),
                }
                .map_err(|error| ControlError::Malformed { opcode, error })
            }

            /// Appends the data.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    Reply::Empty => {}
                    $(Reply::$variant(data) => data.encode(out),)*
                }
            }
        }
    };
}

replies! {
    // The node.
    Statistics(Box<Statistics>) = STATISTICS;
    GetStatHistory(StatisticsList) = GET_STAT_HISTORY;
    Uptime(Uptime) = UPTIME;
    GetRunstate(Runstate) = GET_RUNSTATE;
    GetCapabilities(Capabilities) = GET_CAPABILITIES;
    GetDebug(DebugLevel) = GET_DEBUG;
    // Text without NUL.
    DumpMemory(Rest<'a>) = DUMP_MEMORY;
    EchoData(EchoData<'a>) = ECHO_DATA;

    // Nodes of the cluster.
    GetNodemap(NodeMap) = GET_NODEMAP;
    GetNodesFile(NodeMap) = GET_NODES_FILE;
    GetBanState(BanState) = GET_BAN_STATE;

    // Recovery.
    GetVnnmap(VnnMap) = GETVNNMAP;
    GetReclockFile(Option<Text<'a>>) = GET_RECLOCK_FILE;
    // Number of records sent, or received.
    DbPull(u32) = DB_PULL;
    DbPushConfirm(u32) = DB_PUSH_CONFIRM;

    // Databases.
    GetDbmap(DbIdMap) = GET_DBMAP;
    GetDbPath(Text<'a>) = GETDBPATH;
    GetDbName(Text<'a>) = GET_DBNAME;
    DbAttach(DbId) = DB_ATTACH;
    DbAttachPersistent(DbId) = DB_ATTACH_PERSISTENT;
    DbAttachReplicated(DbId) = DB_ATTACH_REPLICATED;
    // Flags for tdb_open.
    DbOpenFlags(i32) = DB_OPEN_FLAGS;
    // Nothing: healthy.
    DbGetHealth(Option<Text<'a>>) = DB_GET_HEALTH;
    GetDbSeqnum(u64) = GET_DB_SEQNUM;
    GetDbStatistics(Box<DbStatistics>) = GET_DB_STATISTICS;

    // Records: those that could not be deleted.
    TryDeleteRecords(RecBuffer<'a>) = TRY_DELETE_RECORDS;

    // Tunables.
    GetTunable(u32) = GET_TUNABLE;
    ListTunables(VarList<'a>) = LIST_TUNABLES;
    GetAllTunables(Box<TunableList>) = GET_ALL_TUNABLES;

    // Addresses.
    GetPublicIps(PublicIpList) = GET_PUBLIC_IPS;
    GetPublicIpInfo(PublicIpInfo) = GET_PUBLIC_IP_INFO;
    GetIfaces(IfaceList) = GET_IFACES;
    GetTcpTickleList(TickleList) = GET_TCP_TICKLE_LIST;
}
