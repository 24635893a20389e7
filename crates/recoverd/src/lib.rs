//! `ctdb_recoverd` as a library: looks at the cluster, takes part in elections, and, on the leader, decides on recoveries,
//! takeover runs and bans.
//!
//! The decisions are in `ctdb_cluster`, which knows neither sockets nor clocks. Here is what asks the questions and
//! carries out the answers:
//!
//! | module | |
//! |---|---|
//! | [`round`] | the main loop; its steps are numbered as in `docs/internals/recoverd.md` |
//! | [`look`] | what a round asks |
//! | [`judge`] | steps 19 to 26: is a recovery needed? |
//! | [`recovery`] | one recovery |
//! | [`takeover`], [`addresses`] | takeover runs, and who asks for them |
//! | [`flags`] | node flags, bans, freezing of inactive nodes |
//! | [`leadership`] | elections and the cluster lock, by the machine of `ctdb_cluster::election` |
//! | [`inbox`], [`private`] | messages |
//! | [`helper`] | runs helper programs |
//!
//! A round begins every RecoverInterval, as in C, and at once when ctdbd tells that something has changed.

mod addresses;
mod completeness;
mod echoes;
mod flags;
mod helper;
mod inbox;
mod judge;
mod leadership;
mod look;
mod pace;
mod private;
mod recovery;
mod round;
mod settings;
mod state;
mod takeover;

pub use settings::{ENV_HELPER_ARGS, Settings};

use std::rc::Rc;

use anyhow::{Context, anyhow};
use ctdb_client::Client;
use ctdb_cluster::Node;
use ctdb_cluster::election::{Config, Event, Standing};
use ctdb_conf::Tunables;
use ctdb_mutex::LockCommand;
use ctdb_protocol::{Capabilities, NodeFlags, Pnn};
use ctdb_runtime::sync::{Either, select2};
use ctdb_runtime::{Handle, Signal};

use leadership::Leadership;
use state::{FirstLook, Recoverd};

/// Runs until ctdbd is gone (1) or SIGTERM comes (0); returns the exit code.
///
/// # Errors
/// ctdbd can't be reached or doesn't answer, or the cluster lock can't be used.
pub async fn run(rt: &Handle, settings: Settings) -> anyhow::Result<u8> {
    let signals = rt
        .signals(&[Signal::SIGTERM, Signal::SIGHUP])
        .context("watching signals")?;
    let client = Client::connect(rt, &settings.socket).await?;
    let recoverd = start(rt, client.clone(), settings).await?;
    let _registrations = recoverd.listen().await.context("registering for messages")?;
    let _nodes = rt.spawn_urgent(recoverd.clone().follow_nodes());
    let _completeness =
        (!recoverd.leadership.has_lock()).then(|| rt.spawn(round::watch_completeness(recoverd.clone())));
    recoverd.tell_election();
    recoverd.election_event(Event::Start);

    let gone = async {
        select2(client.disconnected(), recoverd.run_rounds()).await;
    };
    let terminated = async {
        while signals.recv().await != Signal::SIGTERM {
            reopen_log();
        }
    };
    let code = match select2(terminated, gone).await {
        Either::Left(()) => {
            log::info!("SIGTERM: the recovery daemon ends");
            0
        }
        Either::Right(()) => {
            log::error!("ctdbd is gone; the recovery daemon ends");
            1
        }
    };
    recoverd.leadership.release_lock();
    // The end of the task that keeps the lock is the end of the lock.
    rt.yield_now().await;
    Ok(code)
}

async fn start(rt: &Handle, client: Client, settings: Settings) -> anyhow::Result<Rc<Recoverd>> {
    let (me, timeout) = (Pnn::CURRENT, Tunables::default().recover_timeout());
    let tunables = client.get_all_tunables(me, timeout).await?;
    let tunables = Tunables::from_list(&tunables);
    let nodes = Node::list(&client.get_nodemap(me, timeout).await?);
    let capabilities = client.get_capabilities(me, timeout).await?;
    let lock = match client.get_reclock_file(me, timeout).await? {
        Some(setting) if !setting.is_empty() => Some(lock_command(&settings, &setting)?),
        _ => None,
    };

    let config = Config {
        me: client.pnn(),
        cluster_lock: lock.is_some(),
        leader_timeout: settings.leader_timeout,
        election_timeout: tunables.election_timeout(),
        fast_start: settings.paths.test_mode,
    };
    let own = nodes.iter().find(|node| node.pnn == client.pnn());
    let standing = Standing {
        flags: own.map_or(NodeFlags::empty(), |node| node.flags),
        recmaster: capabilities.contains(Capabilities::RECMASTER),
    };
    let leadership = Leadership::new(rt, config, standing, lock);
    Ok(Recoverd::new(
        client,
        settings,
        leadership,
        FirstLook {
            nodes,
            capabilities,
            tunables,
        },
    ))
}

fn lock_command(settings: &Settings, setting: &str) -> anyhow::Result<LockCommand> {
    let helper = settings.paths.helper(ctdb_mutex::spec::FCNTL_HELPER);
    LockCommand::parse(setting, &helper).map_err(|error| anyhow!("cluster lock {setting}: {error}"))
}

fn reopen_log() {
    log::info!("SIGHUP: reopening the log");
    if let Err(error) = ctdb_logging::reopen() {
        log::error!("The log cannot be reopened: {error}");
    }
}
