//! Signals of this process, through signal-hook's self-pipe.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};

use super::reactor::Reactor;
use super::socket::{Socket, socket_pair};

/// One pipe per signal, so that the pipe says which.
pub(crate) struct RealSignals {
    pipes: Vec<(Signal, SigId, Rc<Socket>)>,
}

impl RealSignals {
    pub fn new(reactor: &Rc<Reactor>, which: &[Signal]) -> io::Result<RealSignals> {
        let mut signals = RealSignals {
            pipes: Vec::with_capacity(which.len()),
        };
        for &signal in which {
            if signal_hook::consts::FORBIDDEN.contains(&(signal as i32)) {
                return Err(Errno::EINVAL.into());
            }
            let (ours, handlers) = socket_pair()?;
            let ours = Socket::new(reactor, ours)?;
            let id = pipe::register(signal as i32, handlers)?;
            signals.pipes.push((signal, id, ours));
        }
        Ok(signals)
    }

    /// The first of the signals that has arrived; several arrivals of one count as one.
    pub fn poll_recv(&self, cx: &Context<'_>) -> Poll<Signal> {
        for (signal, _, pipe) in &self.pipes {
            let mut bytes = [0; 256];
            loop {
                match pipe.try_read(&mut bytes) {
                    Ok(n) if n > 0 => return Poll::Ready(*signal),
                    // Nothing arrived. (The writing end is the handler's and never closes.)
                    _ if pipe.poll_readable(cx).is_pending() => break,
                    _ => {}
                }
            }
        }
        Poll::Pending
    }
}

/// The default action does not come back: the signals are ignored from here on.
impl Drop for RealSignals {
    fn drop(&mut self) {
        for (_, id, _) in &self.pipes {
            unregister(*id);
        }
    }
}
