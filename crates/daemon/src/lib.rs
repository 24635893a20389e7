//! ctdbd as a library.
//!
//! One daemon is one [`Daemon`] value behind an `Rc`, and everything runs on one thread of
//! `ctdb-runtime`: packets are handled by plain functions in place, slow work is `async fn`.
//! No borrow of a room's state is held across an `.await` or across a call into another room.
//!
//! ```text
//! start        the start-up sequence, step by step           daemon      the value that ties the rooms
//! nodes links keepalive     other daemons                     clients     unix socket clients
//! dispatch router           packets in, packets out           loopback    packets to ourselves
//! control/*    one function for each control                  asks        controls we wait for
//! services     who listens to which srvid                     responder   the one answer to a control
//! databases attach detach health  the TDB files              locks       chains that are taken: helpers
//! calls commit waiting      record traffic, transactions      recovery/*  freeze, transaction, pull, push
//! deletions hot_keys sticky what is known of single records   traverse/*  every record of all nodes for a client
//! readonly     copies that are lent and called back         vacuum/*    empty records leave
//! inactive     banned, stopped and back                       monitor events recoverd   children
//! shutdown     the way out                                    stats       what `ctdb statistics` shows
//! cpu_usage    warns before one processor is too little
//! ```

pub mod asks;
pub mod attach;
pub mod calls;
pub mod clients;
pub mod commit;
pub mod control;
pub mod cpu_usage;
pub mod daemon;
pub mod databases;
pub mod deletions;
pub mod detach;
pub mod dispatch;
pub mod events;
pub mod health;
pub mod hot_keys;
pub mod inactive;
pub mod keepalive;
pub mod links;
pub mod locks;
pub mod loopback;
pub mod monitor;
pub mod nodes;
pub mod notice;
pub mod readonly;
pub mod recoverd;
pub mod recovery;
pub mod responder;
pub mod router;
pub mod services;
pub mod settings;
pub mod shutdown;
pub mod start;
pub mod state;
pub mod stats;
pub mod sticky;
pub mod traverse;
pub mod vacuum;
pub mod waiting;

pub use daemon::Daemon;
pub use settings::Settings;
pub use start::run;
