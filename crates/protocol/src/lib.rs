//! Every packet, control, message and structure of the CTDB wire protocol: encode, decode, name, Display. No I/O.

pub mod flags;
pub mod ids;

pub use flags::{CallFlags, Capabilities, ControlFlags, DbFlags, NodeFlags, RecFlags, TunnelFlags};
pub use ids::{ClientId, DbId, Generation, Pnn, Reqid, Rsn, Srvid, TunnelId};
