//! Controls by number and name, and which of them exist no more.

use crate::reader::newtype_field;

/// Number of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u32);

newtype_field! { Opcode(u32), "opcode"; }

/// What becomes of a control of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is served.
    Implemented,
    /// It was once; answered with status -1 and a line in the log.
    Obsolete {
        /// What to use now, where something took its place.
        instead: Option<&'static str>,
    },
    /// No implementation has it; status -1.
    Unknown,
}

/// One line per control: constant, number, upstream's name, status. Source: `ctdb/protocol/protocol.h`,
/// `enum ctdb_controls`, and `ctdb_control_dispatch` for what the daemon still serves.
macro_rules! opcodes {
    ($($konst:ident = $number:literal, $name:literal, $status:ident $(($instead:literal))?;)*) => {
        impl Opcode {
            $(#[doc = concat!("`", $name, "`")] pub const $konst: Opcode = Opcode($number);)*

            /// Every number with a name, obsolete ones too, in order.
            pub const ALL: &'static [Opcode] = &[$(Opcode::$konst),*];

            /// Upstream's name, without `CTDB_CONTROL_`; `None` for a number that nobody knows.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)*
                    _ => None,
                }
            }

            /// Whether it is served.
            pub fn status(self) -> Status {
                match self.0 {
                    $($number => opcodes!(@status $status $($instead)?),)*
                    _ => Status::Unknown,
                }
            }
        }
    };
    (@status Implemented) => { Status::Implemented };
    (@status Obsolete) => { Status::Obsolete { instead: None } };
    (@status Obsolete $instead:literal) => { Status::Obsolete { instead: Some($instead) } };
}

opcodes! {
    PROCESS_EXISTS = 0, "PROCESS_EXISTS", Implemented;
    STATISTICS = 1, "STATISTICS", Implemented;
    PING = 3, "PING", Implemented;
    GETDBPATH = 4, "GETDBPATH", Implemented;
    GETVNNMAP = 5, "GETVNNMAP", Implemented;
    SETVNNMAP = 6, "SETVNNMAP", Implemented;
    GET_DEBUG = 7, "GET_DEBUG", Implemented;
    SET_DEBUG = 8, "SET_DEBUG", Implemented;
    GET_DBMAP = 9, "GET_DBMAP", Implemented;
    GET_NODEMAP_V4 = 10, "GET_NODEMAPv4", Obsolete("GET_NODEMAP");
    SET_DMASTER = 11, "SET_DMASTER", Obsolete;
    PULL_DB = 13, "PULL_DB", Obsolete;
    PUSH_DB = 14, "PUSH_DB", Obsolete;
    GET_RECMODE = 15, "GET_RECMODE", Implemented;
    SET_RECMODE = 16, "SET_RECMODE", Implemented;
    STATISTICS_RESET = 17, "STATISTICS_RESET", Implemented;
    DB_ATTACH = 18, "DB_ATTACH", Implemented;
    SET_CALL = 19, "SET_CALL", Obsolete;
    TRAVERSE_START = 20, "TRAVERSE_START", Implemented;
    TRAVERSE_ALL = 21, "TRAVERSE_ALL", Implemented;
    TRAVERSE_DATA = 22, "TRAVERSE_DATA", Implemented;
    REGISTER_SRVID = 23, "REGISTER_SRVID", Implemented;
    DEREGISTER_SRVID = 24, "DEREGISTER_SRVID", Implemented;
    GET_DBNAME = 25, "GET_DBNAME", Implemented;
    ENABLE_SEQNUM = 26, "ENABLE_SEQNUM", Implemented;
    UPDATE_SEQNUM = 27, "UPDATE_SEQNUM", Implemented;
    DUMP_MEMORY = 29, "DUMP_MEMORY", Implemented;
    GET_PID = 30, "GET_PID", Implemented;
    GET_RECMASTER = 31, "GET_RECMASTER", Obsolete;
    SET_RECMASTER = 32, "SET_RECMASTER", Obsolete;
    FREEZE = 33, "FREEZE", Implemented;
    THAW = 34, "THAW", Obsolete;
    GET_PNN = 35, "GET_PNN", Implemented;
    SHUTDOWN = 36, "SHUTDOWN", Implemented;
    GET_MONMODE = 37, "GET_MONMODE", Obsolete;
    TAKEOVER_IP_V4 = 42, "TAKEOVER_IPv4", Obsolete("TAKEOVER_IP");
    RELEASE_IP_V4 = 43, "RELEASE_IPv4", Obsolete("RELEASE_IP");
    TCP_CLIENT = 44, "TCP_CLIENT", Implemented;
    TCP_ADD = 45, "TCP_ADD", Implemented;
    TCP_REMOVE = 46, "TCP_REMOVE", Implemented;
    STARTUP = 47, "STARTUP", Implemented;
    SET_TUNABLE = 48, "SET_TUNABLE", Implemented;
    GET_TUNABLE = 49, "GET_TUNABLE", Implemented;
    LIST_TUNABLES = 50, "LIST_TUNABLES", Implemented;
    GET_PUBLIC_IPS_V4 = 51, "GET_PUBLIC_IPSv4", Obsolete("GET_PUBLIC_IPS");
    MODIFY_FLAGS = 52, "MODIFY_FLAGS", Implemented;
    GET_ALL_TUNABLES = 53, "GET_ALL_TUNABLES", Implemented;
    KILL_TCP = 54, "KILL_TCP", Obsolete;
    GET_TCP_TICKLE_LIST = 55, "GET_TCP_TICKLE_LIST", Implemented;
    SET_TCP_TICKLE_LIST = 56, "SET_TCP_TICKLE_LIST", Implemented;
    REGISTER_SERVER_ID = 57, "REGISTER_SERVER_ID", Obsolete;
    UNREGISTER_SERVER_ID = 58, "UNREGISTER_SERVER_ID", Obsolete;
    CHECK_SERVER_ID = 59, "CHECK_SERVER_ID", Obsolete;
    GET_SERVER_ID_LIST = 60, "GET_SERVER_ID_LIST", Obsolete;
    DB_ATTACH_PERSISTENT = 61, "DB_ATTACH_PERSISTENT", Implemented;
    PERSISTENT_STORE = 62, "PERSISTENT_STORE", Obsolete;
    UPDATE_RECORD = 63, "UPDATE_RECORD", Implemented;
    SEND_GRATUITOUS_ARP = 64, "SEND_GRATUITOUS_ARP", Implemented;
    TRANSACTION_START = 65, "TRANSACTION_START", Obsolete;
    TRANSACTION_COMMIT = 66, "TRANSACTION_COMMIT", Obsolete;
    WIPE_DATABASE = 67, "WIPE_DATABASE", Implemented;
    UPTIME = 69, "UPTIME", Implemented;
    START_RECOVERY = 70, "START_RECOVERY", Implemented;
    END_RECOVERY = 71, "END_RECOVERY", Implemented;
    RELOAD_NODES_FILE = 72, "RELOAD_NODES_FILE", Implemented;
    TRY_DELETE_RECORDS = 74, "TRY_DELETE_RECORDS", Implemented;
    ENABLE_MONITOR = 75, "ENABLE_MONITOR", Obsolete;
    DISABLE_MONITOR = 76, "DISABLE_MONITOR", Obsolete;
    ADD_PUBLIC_IP = 77, "ADD_PUBLIC_IP", Implemented;
    DEL_PUBLIC_IP = 78, "DEL_PUBLIC_IP", Implemented;
    RUN_EVENTSCRIPTS = 79, "RUN_EVENTSCRIPTS", Obsolete;
    GET_CAPABILITIES = 80, "GET_CAPABILITIES", Implemented;
    START_PERSISTENT_UPDATE = 81, "START_PERSISTENT_UPDATE", Implemented;
    CANCEL_PERSISTENT_UPDATE = 82, "CANCEL_PERSISTENT_UPDATE", Implemented;
    TRANS2_COMMIT = 83, "TRANS2_COMMIT", Obsolete("TRANS3_COMMIT");
    TRANS2_FINISHED = 84, "TRANS2_FINISHED", Obsolete;
    TRANS2_ERROR = 85, "TRANS2_ERROR", Obsolete;
    TRANS2_COMMIT_RETRY = 86, "TRANS2_COMMIT_RETRY", Obsolete("TRANS3_COMMIT");
    RECD_PING = 87, "RECD_PING", Implemented;
    RELEASE_IP = 88, "RELEASE_IP", Implemented;
    TAKEOVER_IP = 89, "TAKEOVER_IP", Implemented;
    GET_PUBLIC_IPS = 90, "GET_PUBLIC_IPS", Implemented;
    GET_NODEMAP = 91, "GET_NODEMAP", Implemented;
    GET_EVENT_SCRIPT_STATUS = 96, "GET_EVENT_SCRIPT_STATUS", Obsolete;
    TRAVERSE_KILL = 97, "TRAVERSE_KILL", Implemented;
    RECD_RECLOCK_LATENCY = 98, "RECD_RECLOCK_LATENCY", Implemented;
    GET_RECLOCK_FILE = 99, "GET_RECLOCK_FILE", Implemented;
    SET_RECLOCK_FILE = 100, "SET_RECLOCK_FILE", Obsolete;
    STOP_NODE = 101, "STOP_NODE", Implemented;
    CONTINUE_NODE = 102, "CONTINUE_NODE", Implemented;
    SET_NATGWSTATE = 103, "SET_NATGWSTATE", Obsolete;
    SET_LMASTERROLE = 104, "SET_LMASTERROLE", Implemented;
    SET_RECMASTERROLE = 105, "SET_RECMASTERROLE", Implemented;
    ENABLE_SCRIPT = 107, "ENABLE_SCRIPT", Obsolete;
    DISABLE_SCRIPT = 108, "DISABLE_SCRIPT", Obsolete;
    SET_BAN_STATE = 109, "SET_BAN_STATE", Implemented;
    GET_BAN_STATE = 110, "GET_BAN_STATE", Implemented;
    SET_DB_PRIORITY = 111, "SET_DB_PRIORITY", Obsolete;
    GET_DB_PRIORITY = 112, "GET_DB_PRIORITY", Obsolete;
    TRANSACTION_CANCEL = 113, "TRANSACTION_CANCEL", Obsolete;
    REGISTER_NOTIFY = 114, "REGISTER_NOTIFY", Implemented;
    DEREGISTER_NOTIFY = 115, "DEREGISTER_NOTIFY", Implemented;
    TRANS2_ACTIVE = 116, "TRANS2_ACTIVE", Obsolete;
    GET_LOG = 117, "GET_LOG", Obsolete;
    CLEAR_LOG = 118, "CLEAR_LOG", Obsolete;
    TRANS3_COMMIT = 119, "TRANS3_COMMIT", Implemented;
    GET_DB_SEQNUM = 120, "GET_DB_SEQNUM", Implemented;
    DB_SET_HEALTHY = 121, "DB_SET_HEALTHY", Implemented;
    DB_GET_HEALTH = 122, "DB_GET_HEALTH", Implemented;
    GET_PUBLIC_IP_INFO = 123, "GET_PUBLIC_IP_INFO", Implemented;
    GET_IFACES = 124, "GET_IFACES", Implemented;
    SET_IFACE_LINK_STATE = 125, "SET_IFACE_LINK_STATE", Implemented;
    TCP_ADD_DELAYED_UPDATE = 126, "TCP_ADD_DELAYED_UPDATE", Implemented;
    GET_STAT_HISTORY = 127, "GET_STAT_HISTORY", Implemented;
    SCHEDULE_FOR_DELETION = 128, "SCHEDULE_FOR_DELETION", Implemented;
    SET_DB_READONLY = 129, "SET_DB_READONLY", Implemented;
    CHECK_SRVIDS = 130, "CHECK_SRVIDS", Obsolete;
    TRAVERSE_START_EXT = 131, "TRAVERSE_START_EXT", Implemented;
    GET_DB_STATISTICS = 132, "GET_DB_STATISTICS", Implemented;
    SET_DB_STICKY = 133, "SET_DB_STICKY", Implemented;
    RELOAD_PUBLIC_IPS = 134, "RELOAD_PUBLIC_IPS", Implemented;
    TRAVERSE_ALL_EXT = 135, "TRAVERSE_ALL_EXT", Implemented;
    RECEIVE_RECORDS = 136, "RECEIVE_RECORDS", Obsolete;
    IPREALLOCATED = 137, "IPREALLOCATED", Implemented;
    GET_RUNSTATE = 138, "GET_RUNSTATE", Implemented;
    DB_DETACH = 139, "DB_DETACH", Implemented;
    GET_NODES_FILE = 140, "GET_NODES_FILE", Implemented;
    DB_FREEZE = 141, "DB_FREEZE", Implemented;
    DB_THAW = 142, "DB_THAW", Implemented;
    DB_TRANSACTION_START = 143, "DB_TRANSACTION_START", Implemented;
    DB_TRANSACTION_COMMIT = 144, "DB_TRANSACTION_COMMIT", Implemented;
    DB_TRANSACTION_CANCEL = 145, "DB_TRANSACTION_CANCEL", Implemented;
    DB_PULL = 146, "DB_PULL", Implemented;
    DB_PUSH_START = 147, "DB_PUSH_START", Implemented;
    DB_PUSH_CONFIRM = 148, "DB_PUSH_CONFIRM", Implemented;
    DB_OPEN_FLAGS = 149, "DB_OPEN_FLAGS", Implemented;
    DB_ATTACH_REPLICATED = 150, "DB_ATTACH_REPLICATED", Implemented;
    CHECK_PID_SRVID = 151, "CHECK_PID_SRVID", Implemented;
    TUNNEL_REGISTER = 152, "TUNNEL_REGISTER", Implemented;
    TUNNEL_DEREGISTER = 153, "TUNNEL_DEREGISTER", Implemented;
    VACUUM_FETCH = 154, "VACUUM_FETCH", Implemented;
    DB_VACUUM = 155, "DB_VACUUM", Implemented;
    ECHO_DATA = 156, "ECHO_DATA", Implemented;
    DISABLE_NODE = 157, "DISABLE_NODE", Implemented;
    ENABLE_NODE = 158, "ENABLE_NODE", Implemented;
    TCP_CLIENT_DISCONNECTED = 159, "TCP_CLIENT_DISCONNECTED", Implemented;
    TCP_CLIENT_PASSED = 160, "TCP_CLIENT_PASSED", Implemented;
    START_IPREALLOCATE = 161, "START_IPREALLOCATE", Implemented;
    PUSH_RECORD = 162, "PUSH_RECORD", Implemented;
}

impl std::fmt::Display for Opcode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "control {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_end_with_push_record() {
        assert!(Opcode::ALL.is_sorted());
        assert_eq!(Opcode::ALL.first(), Some(&Opcode::PROCESS_EXISTS));
        assert_eq!(Opcode::ALL.last(), Some(&Opcode::PUSH_RECORD));
        assert_eq!(Opcode::PUSH_RECORD, Opcode(162));
    }

    #[test]
    fn an_obsolete_control_names_its_successor() {
        assert_eq!(
            Opcode::RELEASE_IP_V4.status(),
            Status::Obsolete {
                instead: Some("RELEASE_IP")
            }
        );
        assert_eq!(Opcode::THAW.status(), Status::Obsolete { instead: None });
        assert_eq!(Opcode(2).status(), Status::Unknown);
        assert_eq!(Opcode::START_PERSISTENT_UPDATE.status(), Status::Implemented);
    }

    #[test]
    fn an_unknown_control_prints_as_its_number() {
        assert_eq!(Opcode(28).to_string(), "control 28");
        assert_eq!(Opcode::GETVNNMAP.to_string(), "GETVNNMAP");
    }
}
