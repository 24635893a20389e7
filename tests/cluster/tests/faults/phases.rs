//! `kill -9` of the recovery helper, of its recovery daemon and of the leader's ctdbd, at each step of a recovery.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use ctdb_cluster_tests::scene::{LIMIT, Scene, wait_for_file};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{all_but, often, three};

/// The steps at which the helper can be held, in their order.
const STEPS: [&str; 13] = [
    "recmode-active",
    "start-recovery",
    "vnnmap",
    "freeze",
    "transaction-start",
    "pull",
    "wipe",
    "push",
    "commit",
    "thaw",
    "recmode-normal",
    "end-recovery",
    "result",
];

/// A cluster whose recoveries can be held.
struct Held {
    orders: TempDir,
    scene: Scene,
}

impl Held {
    fn begin() -> Held {
        let orders = tempfile::tempdir().unwrap();
        let directory = orders.path().display().to_string();
        let nodes = often(three()).env("CTDB_TEST_RECOVERY_HOLD", &directory);
        Held {
            orders,
            scene: Scene::begin(nodes).unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.orders.path().join(name)
    }

    /// Lets `fault` happen while a recovery is held at `step`. It gets the leader.
    fn at(&self, step: &str, fault: impl FnOnce(usize) -> Result<()>) -> Result<()> {
        let (leader, others) = self.scene.roles()?;
        fs::write(self.file(step), "")?;
        std::thread::scope(|scope| {
            // It waits for the recovery, but must not be held up by a test that fails.
            scope.spawn(|| self.scene.node(others[0]).ctdb(&["-T", "50", "recover"]));
            wait_for_file(&self.file(&format!("{step}.held")))?;
            fault(leader)
        })?;
        fs::remove_file(self.file(&format!("{step}.held")))?;
        Ok(())
    }
}

#[test]
fn the_recovery_helper_is_killed_at_each_of_its_steps() {
    let held = Held::begin();
    let scene = &held.scene;
    let all = [0, 1, 2];
    let faults = || {
        for step in STEPS {
            let generation = scene.cluster.generation()?;
            held.at(step, |leader| {
                let helper = scene.node(leader).wait_process("ctdb_recovery_helper", LIMIT)?;
                helper.signal(Signal::SIGKILL);
                scene.healthy(&all)?;
                Ok(())
            })?;
            assert_ne!(
                scene.cluster.generation()?,
                generation,
                "no recovery followed {step}"
            );
        }
        Ok(())
    };
    scene.under_load(&all, &all, faults).unwrap();
    let (leader, _) = scene.roles().unwrap();
    assert!(
        scene
            .node(leader)
            .log_contains("recovery helper: it ended without a result"),
        "{}",
        scene.node(leader).log_tail(50)
    );
    scene.ends_well().unwrap();
}

#[test]
fn the_recovery_daemon_is_killed_during_a_recovery() {
    let held = Held::begin();
    let scene = &held.scene;
    let all = [0, 1, 2];
    let faults = || {
        for step in ["freeze", "commit", "recmode-normal"] {
            held.at(step, |leader| {
                let recoverd = scene.node(leader).wait_process("ctdb_recoverd", LIMIT)?;
                recoverd.signal(Signal::SIGKILL);
                scene.healthy(&all)?;
                Ok(())
            })?;
        }
        Ok(())
    };
    scene.under_load(&all, &all, faults).unwrap();
    scene.ends_well().unwrap();
}

#[test]
fn the_leaders_daemon_is_killed_during_a_recovery() {
    let held = Held::begin();
    let scene = &held.scene;
    for step in ["freeze", "push", "commit", "thaw"] {
        held.at(step, |leader| {
            scene.node(leader).kill()?;
            scene.healthy(&all_but(leader))?;
            scene.node(leader).start()?;
            scene.healthy(&[0, 1, 2])?;
            Ok(())
        })
        .unwrap();
    }
    scene.ends_well().unwrap();
}

#[test]
fn another_daemon_is_killed_during_a_recovery() {
    let held = Held::begin();
    let scene = &held.scene;
    for step in ["freeze", "push", "commit", "thaw"] {
        let mut victim = 0;
        held.at(step, |leader| {
            victim = (leader + 1) % 3;
            scene.node(victim).kill()?;
            // The helper that is held would wait for ever: a test's doing, not a recovery's.
            let helper = scene.node(leader).wait_process("ctdb_recovery_helper", LIMIT)?;
            helper.signal(Signal::SIGKILL);
            scene.healthy(&all_but(victim))?;
            scene.node(victim).start()?;
            scene.healthy(&[0, 1, 2])?;
            Ok(())
        })
        .unwrap();
    }
    scene.ends_well().unwrap();
}

/// The databases of the leader and of the others are frozen, or in the middle of a commit.
#[test]
fn lock_helpers_are_killed_during_a_recovery() {
    let held = Held::begin();
    let scene = &held.scene;
    let all = [0, 1, 2];
    for step in ["transaction-start", "push", "commit", "thaw"] {
        held.at(step, |leader| {
            for pnn in all {
                let helpers = scene.node(pnn).processes_of("ctdb_lock_helper");
                anyhow::ensure!(!helpers.is_empty(), "nobody keeps node {pnn} frozen");
                helpers.iter().for_each(|process| process.signal(Signal::SIGKILL));
                scene
                    .node(pnn)
                    .wait_log("that keeps databases locked has died", LIMIT)?;
            }
            let helper = scene.node(leader).wait_process("ctdb_recovery_helper", LIMIT)?;
            helper.signal(Signal::SIGKILL);
            scene.healthy(&all)?;
            Ok(())
        })
        .unwrap();
    }
    scene.ends_well().unwrap();
}

/// Nodes become NORMAL one after the other; who is first must not commit at one that is not, for what it refuses has to be
/// settled by another recovery.
#[test]
fn recoveries_under_load_bring_about_no_further_ones() {
    let scene = Scene::begin(often(three())).unwrap();
    let all = [0, 1, 2];
    let recoveries = || {
        for _ in 0..15 {
            scene.node(0).ctdb(&["-T", "50", "recover"])?.ok()?;
            scene.healthy(&all)?;
        }
        Ok(())
    };
    scene.under_load(&all, &all, recoveries).unwrap();
    for pnn in all {
        let log = scene.node(pnn).log();
        let asked = log
            .lines()
            .find(|line| line.contains("asks for a recovery: a node could not store"));
        assert_eq!(asked, None, "{log}");
    }
    scene.ends_well().unwrap();
}
