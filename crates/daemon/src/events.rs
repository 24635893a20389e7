//! The event daemon as ctdbd's child, and events run through it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use ctdb_events::client;
use ctdb_events::proto::Run;
use ctdb_runtime::{Child, Signal, Stream};

use crate::{Daemon, shutdown};

/// Component of all events that ctdbd runs.
const COMPONENT: &str = "legacy";
/// Time that the event daemon has to say that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// Events, `config.md` §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Before anything else.
    Init,
    /// Transport is there.
    Setup,
    /// After the first recovery.
    Startup,
    /// Is this node healthy?
    Monitor,
    /// A recovery begins.
    StartRecovery,
    /// A recovery ended.
    Recovered,
    /// Addresses are about to move.
    StartIpReallocate,
    /// Addresses have moved.
    IpReallocated,
    /// An address comes.
    TakeIp,
    /// An address goes.
    ReleaseIp,
    /// An address changes its interface.
    UpdateIp,
    /// The daemon ends.
    Shutdown,
}

impl Event {
    /// As scripts get it.
    pub fn name(self) -> &'static str {
        match self {
            Event::Init => "init",
            Event::Setup => "setup",
            Event::Startup => "startup",
            Event::Monitor => "monitor",
            Event::StartRecovery => "startrecovery",
            Event::Recovered => "recovered",
            Event::StartIpReallocate => "startipreallocate",
            Event::IpReallocated => "ipreallocated",
            Event::TakeIp => "takeip",
            Event::ReleaseIp => "releaseip",
            Event::UpdateIp => "updateip",
            Event::Shutdown => "shutdown",
        }
    }

    /// Others are refused while the recovery mode is ACTIVE.
    fn allowed_in_recovery(self) -> bool {
        !matches!(
            self,
            Event::Startup | Event::Monitor | Event::Recovered | Event::TakeIp | Event::UpdateIp
        )
    }

    /// A script that hangs must not keep a recovery or an address from going on.
    fn timeout_is_success(self) -> bool {
        matches!(
            self,
            Event::StartRecovery | Event::Recovered | Event::TakeIp | Event::ReleaseIp
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// All scripts succeeded.
    Ok,
    /// Not run: a recovery is under way.
    Refused,
    /// A script failed, or the event could not be run; the event daemon's errno.
    Failed(i32),
    /// Scripts took longer than EventScriptTimeout.
    TimedOut,
    /// A more important event came.
    Cancelled,
}

impl EventOutcome {
    /// As controls return it: 0, the positive errno of the event daemon, or -1 when refused.
    pub fn status(self) -> i32 {
        match self {
            EventOutcome::Ok => 0,
            EventOutcome::Refused => -1,
            EventOutcome::Failed(errno) => errno,
            EventOutcome::TimedOut => nix::errno::Errno::ETIMEDOUT as i32,
            EventOutcome::Cancelled => nix::errno::Errno::ECANCELED as i32,
        }
    }
}

/// The event daemon.
#[derive(Default)]
pub struct Events {
    child: RefCell<Option<u32>>,
    ended: Cell<bool>,
}

/// Starts the event daemon and waits until it is ready.
///
/// # Errors
/// It can't be started, or says nothing for [`READY_LIMIT`].
pub async fn start(d: &Rc<Daemon>) -> anyhow::Result<()> {
    let path = d.settings.paths.helper("ctdb-eventd");
    let mut program = d.program(&path).arg("-P").arg(d.rt.pid().to_string()).arg("-S");
    let ready = program.pipe_from_child();
    program = program.arg_pipe(ready);
    let mut child =
        d.rt.spawn_program(program)
            .with_context(|| format!("starting the event daemon {}", path.display()))?;
    *d.events.child.borrow_mut() = Some(child.pid());
    let pipe = child.take_pipe(ready).context("the event daemon's ready pipe")?;
    let mut word = [0u8; 4];
    match d.rt.timeout(READY_LIMIT, pipe.read_exact(&mut word)).await {
        Ok(Ok(())) if word == [0; 4] => {}
        Ok(Ok(())) => bail!(
            "the event daemon {} reports an error at its start",
            path.display()
        ),
        Ok(Err(error)) => bail!("the event daemon {} ended at its start: {error}", path.display()),
        Err(_) => bail!(
            "the event daemon {} is not ready after {READY_LIMIT:?}",
            path.display()
        ),
    }
    d.spawn(|d| watch(d, child, pipe));
    Ok(())
}

/// Without events no address and no service is safe here: its end is ours. Our end is its, too: the open pipe tells
/// it that we live.
async fn watch(d: Rc<Daemon>, mut child: Child, _life: Stream) {
    let status = child.wait().await;
    d.events.child.borrow_mut().take();
    if !d.events.ended.get() {
        log::error!("The event daemon ended ({status}): this node can't run events and shuts down");
        shutdown::exit(&d, 1);
    }
}

/// Ends the event daemon.
pub fn stop(d: &Daemon) {
    d.events.ended.set(true);
    signal(d, Signal::SIGTERM);
}

/// SIGHUP: reopen the log.
pub fn reopen_logs(d: &Daemon) {
    signal(d, Signal::SIGHUP);
}

fn signal(d: &Daemon, signal: Signal) {
    if let Some(pid) = *d.events.child.borrow() {
        ctdb_runtime::sys::signal_process(pid, signal);
    }
}

/// Runs an event and waits for its end, at most EventScriptTimeout.
pub async fn run(d: &Rc<Daemon>, event: Event, args: &str) -> EventOutcome {
    if d.state.in_recovery() && !event.allowed_in_recovery() {
        log::info!("Event {event} refused: a recovery is under way");
        return EventOutcome::Refused;
    }
    let limit = d.tunables.borrow().event_script_timeout();
    let socket = d.settings.paths.socket("eventd");
    let run = Run {
        component: Some(COMPONENT.to_owned()),
        event: Some(event.name().to_owned()),
        args: Some(args.to_owned()).filter(|a| !a.is_empty()),
        timeout_secs: u32::try_from(limit.as_secs()).unwrap_or(u32::MAX),
        flags: 0,
    };
    let result = client::run(&d.rt, &socket, run).await;
    let outcome = outcome_of(result);
    match outcome {
        EventOutcome::Ok | EventOutcome::Cancelled => {}
        EventOutcome::TimedOut if event.timeout_is_success() => {
            log::error!("Event {event} took longer than {limit:?} (EventScriptTimeout); going on without it");
            return EventOutcome::Ok;
        }
        other => log::error!(
            "Event {event} {args} ended with {other:?}; `ctdb event status legacy {event}` tells more"
        ),
    }
    outcome
}

fn outcome_of(result: Result<i32, client::ClientError>) -> EventOutcome {
    use nix::errno::Errno;
    match result {
        Ok(0) => EventOutcome::Ok,
        Ok(code) => match Errno::from_raw(code.abs()) {
            Errno::ETIMEDOUT => EventOutcome::TimedOut,
            Errno::ECANCELED => EventOutcome::Cancelled,
            _ => EventOutcome::Failed(code.abs()),
        },
        Err(error) => {
            log::error!("The event daemon can't be asked: {error}");
            EventOutcome::Failed(Errno::EIO as i32)
        }
    }
}

/// Runs the notification script, if there is an executable one. Nobody waits for it.
pub fn notify(d: &Rc<Daemon>, what: &str) {
    let script = d.settings.paths.notify_script();
    if !ctdb_runtime::sys::is_executable(&script) {
        return;
    }
    match d
        .rt
        .spawn_program(d.program(&script).arg(what).new_process_group())
    {
        Ok(mut child) => {
            let what = what.to_owned();
            d.spawn(|_| async move {
                let status = child.wait().await;
                if !status.success() {
                    log::warn!("{} {what} ended with {status}", script.display());
                }
            });
        }
        Err(error) => log::warn!("Cannot run {} {what}: {error}", script.display()),
    }
}
