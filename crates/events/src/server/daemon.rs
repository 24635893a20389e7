//! The process `ctdb-eventd`: pid file, socket, clients, signals.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ctdb_conf::{Config, Paths};
use ctdb_runtime::sync::{Either, Semaphore, queue, select2};
use ctdb_runtime::sys::{PidFile, PidFileError, lock_pid_file, process_exists};
use ctdb_runtime::{Handle, Listener, Signal, Signals, Stream};

use super::events::Events;
use crate::client::read_packet;
use crate::proto::{REQUEST_LEN_MAX, Request};

/// The name of this daemon in paths.
const NAME: &str = "eventd";
/// Connections that wait to be taken.
const BACKLOG: i32 = 10;
/// Clients at a time; further ones wait in the backlog.
const CLIENTS_MAX: usize = 1000;
/// Requests of one client that are not answered; it is not read from until some are.
const REQUESTS_MAX: usize = 64;
/// How often it is looked whether the process that we serve is there.
const PID_INTERVAL: Duration = Duration::from_secs(1);
/// The same when it seems to have ended, and how often then.
const END_INTERVAL: Duration = Duration::from_millis(10);
const END_LOOKS: usize = 100;
/// A ctdbd that was killed and is started again meets the event daemon of its former life, which needs this long to
/// notice.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(5);

/// Options of the command line.
#[derive(Default)]
pub struct Options {
    /// End when this process ends.
    pub pid: Option<i32>,
    /// Gets a u32 0 when the daemon is ready.
    pub startup: Option<Stream>,
}

/// Why the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// SIGINT or SIGTERM.
    BySignal,
    /// The process that it served is gone.
    PidGone,
}

impl Stopped {
    /// Exit code: upstream's.
    pub fn exit_code(self) -> u8 {
        match self {
            Stopped::BySignal => 0,
            Stopped::PidGone => 3, // ESRCH
        }
    }
}

/// Why the daemon could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another one runs, or the file cannot be written.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    /// The socket cannot be made.
    #[error("listening on {path}: {error}", path = path.display())]
    Listen {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Signals cannot be listened to.
    #[error("listening to signals: {0}")]
    Signals(io::Error),
}

/// Serves until a signal or the end of the process that is served. `config` says which debug script to use.
///
/// # Errors
/// The daemon could not begin.
pub async fn serve(
    handle: &Handle,
    paths: &Paths,
    config: Config,
    options: Options,
) -> Result<Stopped, ServeError> {
    let _pid_file = take_pid_file(handle, &paths.pid_file(NAME)).await?;
    let wanted = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGINT, Signal::SIGTERM];
    let signals = handle.signals(&wanted).map_err(ServeError::Signals)?;
    let socket = paths.socket(NAME);
    let listener = handle
        .listen_unix(&socket, 0o700, BACKLOG)
        .map_err(|error| ServeError::Listen {
            path: socket.clone(),
            error,
        })?;
    let events = Events::new(handle.clone(), paths.clone(), config.event.debug_script.clone());
    let clients = handle.spawn(accept_clients(handle.clone(), listener, events.clone()));
    log::info!(
        "event daemon is ready, process id {}, socket {}",
        handle.pid(),
        socket.display()
    );
    tell_ready(options.startup.as_ref()).await;

    let until_signal = handle_signals(&signals, paths, config, &events);
    let until_gone = until_gone(handle, options.pid, options.startup.as_ref());
    let stopped = match select2(until_signal, until_gone).await {
        Either::Left(()) => Stopped::BySignal,
        Either::Right(()) => Stopped::PidGone,
    };
    drop(clients);
    events.shut_down();
    // Gone is as good as removed.
    let _ = fs::remove_file(&socket);
    Ok(stopped)
}

async fn take_pid_file(handle: &Handle, path: &Path) -> Result<PidFile, PidFileError> {
    let end = handle.now() + PREDECESSOR_LIMIT;
    loop {
        match lock_pid_file(path) {
            Err(PidFileError::Held { .. }) if handle.now() < end => handle.sleep(END_INTERVAL).await,
            taken => return taken,
        }
    }
}

async fn tell_ready(startup: Option<&Stream>) {
    if let Some(stream) = startup
        && let Err(error) = stream.write_all(&0u32.to_ne_bytes()).await
    {
        log::warn!("telling the parent that the event daemon is ready: {error}");
    }
}

/// Ends with SIGINT or SIGTERM.
async fn handle_signals(signals: &Signals, paths: &Paths, mut config: Config, events: &Events) {
    loop {
        match signals.recv().await {
            Signal::SIGHUP => match ctdb_logging::reopen() {
                Ok(()) => log::info!("log file opened anew"),
                Err(error) => log::warn!("opening the log file anew: {error}; the old one stays in use"),
            },
            Signal::SIGUSR1 => config = reload(config, paths, events),
            signal => return log::info!("event daemon ends on {signal}"),
        }
    }
}

fn reload(config: Config, paths: &Paths, events: &Events) -> Config {
    match Config::load(paths) {
        Err(error) => {
            log::warn!("configuration not reloaded, the old one stays in use: {error}");
            config
        }
        Ok(fresh) => {
            let (merged, ignored) = config.reloaded(&fresh, paths);
            ignored
                .iter()
                .filter(|change| change.section == "logging")
                .for_each(|change| log::warn!("{change}"));
            events.set_debug_script(merged.event.debug_script.clone());
            log::info!("configuration reloaded");
            merged
        }
    }
}

/// Ends when the process is gone; never when there is none to watch. Our ctdbd keeps its end of the `startup` pipe
/// open for life; the C one closes it at once, so a closed pipe is a reason to look and no more.
async fn until_gone(handle: &Handle, pid: Option<i32>, startup: Option<&Stream>) {
    let Some(pid) = pid else {
        return std::future::pending().await;
    };
    let closed = async {
        match startup {
            Some(startup) => startup.readable().await,
            None => std::future::pending().await,
        }
    };
    select2(closed, until_no_process(handle, pid, PID_INTERVAL, usize::MAX)).await;
    until_no_process(handle, pid, END_INTERVAL, END_LOOKS).await;
    until_no_process(handle, pid, PID_INTERVAL, usize::MAX).await;
    log::error!("process {pid} is gone, so the event daemon ends");
}

/// Ends when the process is gone, or after so many looks.
async fn until_no_process(handle: &Handle, pid: i32, interval: Duration, looks: usize) {
    let mut left = looks;
    while left > 0 && process_exists(pid) {
        handle.sleep(interval).await;
        left -= 1;
    }
}

async fn accept_clients(handle: Handle, listener: Listener, events: Rc<Events>) {
    let places = Semaphore::new(CLIENTS_MAX);
    loop {
        let place = places.acquire().await;
        match listener.accept().await {
            Ok(stream) => {
                let client = serve_client(handle.clone(), stream, events.clone());
                let client = async move {
                    client.await;
                    drop(place);
                };
                handle.spawn(client).detach();
            }
            Err(error) => {
                log::error!("accepting a client: {error}");
                handle.sleep(PID_INTERVAL).await;
            }
        }
    }
}

/// Requests of one client are worked on side by side: a status is answered while an event runs.
/// What was asked for is done even if the client goes away.
async fn serve_client(handle: Handle, stream: Stream, events: Rc<Events>) {
    let (replies, mut to_send) = queue::<Vec<u8>>(REQUESTS_MAX);
    let out = stream.clone();
    let writer = handle.spawn(async move {
        while let Some(packet) = to_send.recv().await {
            if out.write_all(&packet).await.is_err() {
                break;
            }
        }
    });
    let places = Semaphore::new(REQUESTS_MAX);
    loop {
        let place = places.acquire().await;
        let (reqid, request) = match read_packet(&stream, REQUEST_LEN_MAX).await {
            Err(_) => break, // the client is gone
            Ok(packet) => match packet.and_then(|packet| Request::decode(&packet)) {
                Ok(request) => request,
                Err(error) => {
                    let who = stream
                        .peer_cred()
                        .map_or_else(|| "?".to_owned(), |cred| cred.pid.to_string());
                    log::error!("malformed packet from process {who}, its connection is closed: {error}");
                    break;
                }
            },
        };
        let (events, replies) = (events.clone(), replies.clone());
        let work = async move {
            let reply = events.answer(request).await;
            // Nobody is there to read it: fine.
            let _ = replies.send(reply.encode(reqid)).await;
            drop(place);
        };
        handle.spawn(work).detach();
    }
    drop(writer);
}
