//! Synchronisation between the tasks of one thread, the same for both back ends. Waiters are served first come, first served.

mod combine;
mod notify;
mod oneshot;
mod queue;
mod semaphore;

pub use combine::{Either, join_all, join2, race, select2};
pub use notify::{Notified, Notify};
pub use oneshot::{OneshotReceiver, OneshotSender, SenderGone, oneshot};
pub use queue::{Receiver, RecvFuture, SendError, Sender, queue, unbounded};
pub use semaphore::{Acquire, Permit, Semaphore};
