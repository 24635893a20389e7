//! The system's edge: what needs `unsafe`, or a raw call of the kernel, as small safe functions.
//! The only module of this crate that may use `unsafe`.

mod daemonise;
mod limits;
mod look;
mod pidfile;
mod process;

pub use daemonise::{DaemoniseError, daemonise};
pub use limits::{lock_memory, raise_open_files_limit, reset_scheduler, set_realtime, set_umask};
pub use look::{is_executable, nameless_file, resident_bytes, signal_process, stdin_is_fifo};
pub use pidfile::{PidFile, PidFileError, lock_pid_file};
pub(crate) use process::{ChildSetup, pidfd_open, prepare_child};
pub use process::{inherited_fd, parent_pid, process_exists};
