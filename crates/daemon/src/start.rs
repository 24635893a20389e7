//! The start-up sequence, in the order of `daemon.md` §2.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use ctdb_conf::{Config, NodeLine, Paths, Tunables};
use ctdb_mutex::spec::LockCommand;
use ctdb_protocol::control::Request;
use ctdb_protocol::packet::Version;
use ctdb_protocol::{Capabilities, Generation, NodeFlags, Pnn, Runstate, VnnMap};
use ctdb_runtime::sync::{Either, select2};
use ctdb_runtime::{Handle, Listener, Signal};

use crate::events::{self, Event, EventOutcome};
use crate::inactive::Bans;
use crate::nodes::{Node, Nodes};
use crate::notice::{self, Change};
use crate::recovery::{Recovery, freeze};
use crate::settings::Settings;
use crate::state::State;
use crate::stats::{self, Stats};
use crate::vacuum;
use crate::{
    Daemon, asks, attach, calls, clients, cpu_usage, health, keepalive, links, monitor, recoverd, shutdown,
    traverse,
};

/// Exit code when the client socket can't be made.
pub const EXIT_SOCKET: i32 = 10;
/// Exit code when a persistent database is unhealthy.
pub const EXIT_UNHEALTHY: i32 = 11;
/// Connections that may wait to be taken.
const BACKLOG: i32 = 100;
/// Pause before a failed `startup` event is run again.
const STARTUP_RETRY: Duration = Duration::from_secs(5);

/// What was read before the daemon left the terminal.
pub struct Prepared {
    /// Where everything is.
    pub paths: Paths,
    /// ctdb.conf.
    pub config: Config,
    /// ctdb.tunables.
    pub tunables: Tunables,
    /// How to take the cluster lock.
    pub cluster_lock: Option<LockCommand>,
    /// The nodes list.
    pub nodes: Vec<NodeLine>,
    /// In the foreground.
    pub interactive: bool,
    /// A version that keepalives shall announce (tests).
    pub fixed_version: Option<Version>,
}

/// A daemon that could not start, with its exit code.
#[derive(Debug)]
pub struct StartFailed {
    /// For the shell.
    pub code: i32,
    /// For the log.
    pub why: anyhow::Error,
}

impl From<anyhow::Error> for StartFailed {
    fn from(why: anyhow::Error) -> Self {
        StartFailed { code: 1, why }
    }
}

/// Runs a daemon until it ends; returns the exit code.
pub async fn run(rt: Handle, prepared: Prepared) -> i32 {
    let failed = match listen(rt, prepared) {
        Ok((d, sockets)) => {
            // The way out can begin at any step: it ends the way in, and its exit code counts.
            let outcome = match select2(start(&d, sockets), d.shutdown.finished()).await {
                Either::Left(outcome) => outcome,
                Either::Right(code) => return code,
            };
            match outcome {
                Err(why) if !d.shutdown.is_begun() => StartFailed::from(why),
                _ => return d.shutdown.finished().await,
            }
        }
        Err(failed) => failed,
    };
    log::error!("Cannot start: {:#}", failed.why);
    failed.code
}

/// Where clients and other daemons connect.
struct Sockets {
    clients: Listener,
    nodes: Listener,
}

fn listen(rt: Handle, p: Prepared) -> Result<(Rc<Daemon>, Sockets), StartFailed> {
    let socket = p.paths.socket("ctdbd");
    let clients = listen_for_clients(&rt, &socket).map_err(|why| StartFailed {
        code: EXIT_SOCKET,
        why,
    })?;
    let (me, address, nodes) = listen_for_nodes(&rt, &p)?;
    Ok((build(rt, p, me, address)?, Sockets { clients, nodes }))
}

async fn start(d: &Rc<Daemon>, sockets: Sockets) -> anyhow::Result<()> {
    watch_signals(d)?;
    watch_stdin(d)?;

    events::start(d).await?;
    if !advance(d, Runstate::Init) {
        return Ok(());
    }
    must_succeed(d, Event::Init).await?;
    events::notify(d, "init");

    health::open(d).await?;
    attach::attach_all_persistent(d)
        .await
        .context("attaching the persistent databases")?;
    freeze::freeze_all_at_start(d)
        .await
        .context("freezing the databases")?;
    if !advance(d, Runstate::Setup) {
        return Ok(());
    }
    d.spawn_urgent(|d| clients::accept(d, sockets.clients));
    d.spawn_urgent(|d| links::accept(d, sockets.nodes));
    links::connect_all(d);

    must_succeed(d, Event::Setup).await?;
    if !advance(d, Runstate::FirstRecovery) {
        return Ok(());
    }
    events::notify(d, "setup");
    d.spawn_urgent(recoverd::run);
    d.spawn_urgent(keepalive::run);
    d.spawn_urgent(each_second);
    d.spawn(stats::run);
    d.spawn(vacuum::schedule);
    d.spawn(cpu_usage::run);
    d.spawn(become_running);
    Ok(())
}

/// The next step of the way in; false when the way out has begun in the meantime.
fn advance(d: &Rc<Daemon>, to: Runstate) -> bool {
    let goes_on = !d.shutdown.is_begun();
    if goes_on {
        d.state.set_runstate(to);
    }
    goes_on
}

/// A daemon value with nothing running yet.
pub fn build(rt: Handle, p: Prepared, me: Pnn, address: SocketAddr) -> anyhow::Result<Rc<Daemon>> {
    let capabilities = capabilities(&p.config);
    let (now, wall) = (rt.now(), rt.wall_clock());
    let nodes = node_list(me, &p.nodes, &p.config);
    let map = VnnMap {
        generation: Generation::INVALID,
        map: nodes.pnns_where(|n| !n.is_deleted()),
    };
    let test_mode = p.paths.test_mode;
    let child_env = Settings::environment(&p.paths, &p.config, p.interactive);
    let settings = Settings {
        child_env,
        me,
        address,
        paths: p.paths,
        config: p.config,
        cluster_lock: p.cluster_lock,
        test_mode,
        interactive: p.interactive,
        fixed_version: p.fixed_version,
    };
    let d = Rc::new(Daemon {
        settings,
        tunables: RefCell::new(p.tunables),
        state: State::new(capabilities, map, now, wall),
        nodes,
        clients: Default::default(),
        services: Default::default(),
        asks: Default::default(),
        loopback: Default::default(),
        databases: Default::default(),
        deferred_attaches: Default::default(),
        locks: Default::default(),
        calls: Default::default(),
        readonly: Default::default(),
        sticky: Default::default(),
        vacuum: Default::default(),
        commits: Default::default(),
        traverses: Default::default(),
        recovery: Recovery::default(),
        bans: Bans::default(),
        events: Default::default(),
        recoverd: Default::default(),
        stats: Stats::new(wall),
        shutdown: Default::default(),
        rt,
    });
    traverse::listen(&d);
    Ok(d)
}

fn capabilities(config: &Config) -> Capabilities {
    let mut caps = Capabilities::PARALLEL_RECOVERY | Capabilities::FRAGMENTED_CONTROLS;
    caps.set(Capabilities::RECMASTER, config.cluster.leader_capability);
    caps.set(Capabilities::LMASTER, config.legacy.lmaster_capability);
    caps
}

fn node_list(me: Pnn, lines: &[NodeLine], config: &Config) -> Nodes {
    let node = |(index, line): (usize, &NodeLine)| {
        let pnn = Pnn(index as u32);
        match line.address() {
            Some(address) => Node::new(pnn, address, false),
            None => Node::new(pnn, SocketAddr::from(([0, 0, 0, 0], 0)), true),
        }
    };
    let nodes = Nodes::new(me, lines.iter().enumerate().map(node).collect());
    let own = nodes.own();
    let mut flags = own.flags.get();
    flags.set(NodeFlags::PERMANENTLY_DISABLED, config.legacy.start_as_disabled);
    flags.set(NodeFlags::STOPPED, config.legacy.start_as_stopped);
    own.flags.set(flags);
    nodes
}

/// A stale socket file of a daemon that has gone is replaced; the pid file says that it has.
fn listen_for_clients(rt: &Handle, socket: &Path) -> anyhow::Result<Listener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error)
                .with_context(|| format!("removing the old client socket {}", socket.display()));
        }
        _ => {}
    }
    rt.listen_unix(socket, 0o700, BACKLOG)
        .with_context(|| format!("making the client socket {}", socket.display()))
}

/// Finds which line of the nodes file this node is: the configured address, or the first that can be bound.
fn listen_for_nodes(rt: &Handle, p: &Prepared) -> anyhow::Result<(Pnn, SocketAddr, Listener)> {
    let candidates = p
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(i, line)| Some((Pnn(i as u32), line.address()?)));
    if let Some(ip) = p.config.cluster.node_address {
        let (pnn, address) = candidates
            .into_iter()
            .find(|(_, a)| a.ip() == ip)
            .with_context(|| format!("[cluster] node address {ip} is not in the nodes file"))?;
        let listener = rt
            .listen_tcp(address)
            .with_context(|| format!("listening on node address {address}"))?;
        return Ok((pnn, address, listener));
    }
    // Two daemons that start at the same time on one host must not choose the same line.
    let lock_path = p.paths.listen_lock();
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path);
    let lock = lock.with_context(|| format!("opening {}", lock_path.display()))?;
    // By fcntl, as the C daemon: on a host with both they must see each other's.
    nix::fcntl::fcntl(
        &lock,
        nix::fcntl::FcntlArg::F_SETLKW(&nix::libc::flock {
            l_type: nix::libc::F_WRLCK as nix::libc::c_short,
            l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        }),
    )
    .with_context(|| format!("locking {}", lock_path.display()))?;
    let local = local_addresses()?;
    for (pnn, address) in candidates {
        if !local(address.ip()) {
            continue;
        }
        match rt.listen_tcp(address) {
            Ok(listener) => return Ok((pnn, address, listener)),
            Err(error) => log::debug!("Not node {pnn}: {address} cannot be bound: {error}"),
        }
    }
    bail!(
        "no address of the nodes file can be bound on this host: check that one of them is configured here, \
         and that no other ctdbd has its port"
    )
}

/// Whether an address is one of this host's. The kernel may let us bind others (ip_nonlocal_bind).
fn local_addresses() -> anyhow::Result<impl Fn(IpAddr) -> bool> {
    let mut local = Vec::new();
    for interface in nix::ifaddrs::getifaddrs().context("listing the addresses of this host")? {
        let Some(storage) = interface.address else {
            continue;
        };
        if let Some(v4) = storage.as_sockaddr_in() {
            local.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = storage.as_sockaddr_in6() {
            local.push(IpAddr::V6(v6.ip()));
        }
    }
    // All of 127.0.0.0/8 is this host, though only 127.0.0.1 is listed.
    Ok(move |ip: IpAddr| ip.is_loopback() || local.contains(&ip))
}

async fn must_succeed(d: &Rc<Daemon>, event: Event) -> anyhow::Result<()> {
    match events::run(d, event, "").await {
        EventOutcome::Ok => Ok(()),
        other => bail!("event {event} ended with {other:?}: see the lines of its scripts above"),
    }
}

fn watch_signals(d: &Rc<Daemon>) -> anyhow::Result<()> {
    // SIGUSR1 means nothing to this daemon, but its default effect is death.
    let signals =
        d.rt.signals(&[Signal::SIGHUP, Signal::SIGUSR1])
            .context("watching signals")?;
    d.spawn(|d| async move {
        loop {
            if signals.recv().await != Signal::SIGHUP {
                continue;
            }
            log::info!("SIGHUP: reopening the log");
            if let Err(error) = ctdb_logging::reopen() {
                log::error!("The log cannot be reopened: {error}");
            }
            recoverd::reopen_logs(&d);
            events::reopen_logs(&d);
        }
    });
    Ok(())
}

/// In test mode a FIFO on standard input is a leash: when its other end closes, the daemon ends.
fn watch_stdin(d: &Rc<Daemon>) -> anyhow::Result<()> {
    if !d.settings.test_mode || !ctdb_runtime::sys::stdin_is_fifo() {
        return Ok(());
    }
    let stdin = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("watching standard input")?;
    let stdin = d.rt.stream_from_fd(stdin).context("watching standard input")?;
    d.spawn(|d| async move {
        let mut buffer = [0; 64];
        while let Ok(1..) = stdin.read(&mut buffer).await {}
        log::error!("Standard input was closed (test mode): shutting down");
        shutdown::begin(&d, nix::errno::Errno::EPIPE as i32);
    });
    Ok(())
}

async fn each_second(d: Rc<Daemon>) {
    loop {
        d.rt.sleep(Duration::from_secs(1)).await;
        asks::expire(&d);
        calls::expire(&d);
    }
}

/// FIRST_RECOVERY → STARTUP → RUNNING. Each step is taken as soon as its reason is there; the C daemon looks
/// once a second, and waits RerecoveryTimeout + 3 s after a recovery, in case another one comes. If one does,
/// `startup` is refused and run again.
async fn become_running(d: Rc<Daemon>) {
    while !(d.state.runstate() >= Runstate::Startup && ready(&d)) {
        d.state.changed().await;
    }
    if let Some(sick) = health::first_unhealthy_persistent(&d) {
        log::error!(
            "Persistent database {sick} is unhealthy: this node shuts down. `ctdb getdbstatus {sick}` tells why"
        );
        shutdown::begin(&d, EXIT_UNHEALTHY);
        return;
    }
    loop {
        while !ready(&d) {
            d.state.changed().await;
        }
        match events::run(&d, Event::Startup, "").await {
            EventOutcome::Ok => break,
            EventOutcome::Refused => {}
            other => {
                log::error!("Event startup ended with {other:?}; again in {STARTUP_RETRY:?}");
                d.rt.sleep(STARTUP_RETRY).await;
            }
        }
    }
    if !advance(&d, Runstate::Running) {
        return;
    }
    events::notify(&d, "startup");
    d.tell(Pnn::BROADCAST_CONNECTED, &Request::Startup);
    notice::poke(&d, Change::Runstate);
    monitor::run(d).await;
}

fn ready(d: &Daemon) -> bool {
    d.state.generation().is_valid() && !d.state.in_recovery() && !d.shutdown.is_begun()
}

/// Reads the nodes list again (RELOAD_NODES_FILE): unchanged lines keep their links.
pub fn apply_nodes(d: &Rc<Daemon>, lines: &[NodeLine]) {
    let old = d.nodes.all();
    let mut list = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let pnn = Pnn(index as u32);
        let kept = old
            .get(index)
            .filter(|n| !n.is_deleted() && line.address() == Some(n.address));
        list.push(match (kept, line.address()) {
            (Some(node), _) => node.clone(),
            (None, Some(address)) => Node::new(pnn, address, false),
            (None, None) => Node::new(pnn, SocketAddr::from(([0, 0, 0, 0], 0)), true),
        });
    }
    for node in &old {
        let stays = list.iter().any(|n| Rc::ptr_eq(n, node));
        if !stays {
            links::forget(d, node);
        }
    }
    d.nodes.replace(list);
    links::connect_all(d);
    notice::poke(d, Change::Nodes);
}
