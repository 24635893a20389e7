//! Every packet, control, message and structure of the CTDB wire protocol: encode, decode, name, Display.
//! No I/O.
//!
//! - [`Packet::decode`] borrows from the receive buffer; [`Packet::encode`] and the `encode_packet` functions
//!   append to an output buffer.
//! - [`Request`] and [`Reply`] type the data of controls, [`Message`] that of messages.
//! - Structures implement [`Wire`]; each says its bytes in its own documentation.
//! - Every length and count is checked against the bytes that are there before anything is allocated for it.
//!   Decoding never panics, whatever the bytes.
//!
//! 64-bit little-endian hosts only: the C implementation sends its structures as they lie in memory.

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!(
    "the CTDB wire protocol is that of 64-bit little-endian hosts: their C structures, byte for byte"
);

pub mod address;
pub mod client;
pub mod control;
pub mod database;
pub mod flags;
pub mod hash;
pub mod header;
pub mod ids;
pub mod message;
pub mod node;
pub mod opcode;
pub mod packet;
pub mod reader;
pub mod record;
pub mod srvid;
pub mod statistics;
pub mod text;
pub mod tunables;

pub use address::{
    AddrInfo, Connection, Iface, IfaceList, IfaceName, PublicIp, PublicIpInfo, PublicIpList, SockAddr,
    TickleList,
};
pub use client::{DisableRequest, EchoData, GLock, NotifyData, PidSrvid, ServerId, SrvidRequest, VarList};
pub use control::{ControlError, Reply, Request};
pub use database::{
    DbIdEntry, DbIdMap, DbVacuum, KeyData, PullDbExt, PushRecordData, SeqnumOf, TransDb, TraverseAll,
    TraverseAllExt, TraverseStart, TraverseStartExt,
};
pub use flags::{CallFlags, Capabilities, ControlFlags, DbFlags, NodeFlags, RecFlags, TunnelFlags};
pub use hash::jenkins_hash;
pub use header::{Header, Operation, PacketHeader};
pub use ids::{ClientId, DbId, Generation, Pnn, Reqid, Rsn, Srvid, TunnelId};
pub use message::Message;
pub use node::{
    BanState, DebugLevel, ElectionMessage, NodeAndFlags, NodeFlagChange, NodeMap, RecMode, Runstate, Timeval,
    Uptime, VnnMap,
};
pub use opcode::{Opcode, Status};
pub use packet::{
    CallId, ControlHead, Keepalive, Packet, ReplyCall, ReplyControl, ReplyDmaster, ReplyError, ReqCall,
    ReqControl, ReqDmaster, ReqMessage, ReqTunnel, Version,
};
pub use reader::{Reader, Wire, WireError};
pub use record::{LtdbHeader, RecBuffer, RecBufferWriter, RecData, Records};
pub use srvid::SrvidRange;
pub use statistics::{
    Buckets, ClientPackets, DbStatistics, HotKey, LatencyCounter, LockStatistics, NodePackets, Statistics,
    StatisticsList, TimeoutCounts,
};
pub use text::{Rest, Text};
pub use tunables::{Tunable, TunableList, TunableName};

use reader::{flags_field, newtype_field};

newtype_field! { Pnn(u32), "pnn"; DbId(u32), "db_id"; Generation(u32), "generation"; Rsn(u64), "rsn"; }
flags_field! {
    NodeFlags(u32), "node flags";
    RecFlags(u32), "record flags";
    Capabilities(u32), "capabilities";
}
