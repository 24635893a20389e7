//! Clients that hold the chain lock of a record: smbd does it all the time, and may die or hang in between.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use ctdb_cluster_tests::scene::{KEY, LIMIT, MOVING, Scene, read, statistic};
use ctdb_harness::{Node, wait_until};

use crate::{scene, three};

/// Starts a process that holds the lock of the chain of [`KEY`].
fn hold(node: &Node, kind: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fault-client"));
    node.in_this_node(&mut command)
        .arg("hold")
        .arg(node.volatile_db(MOVING))
        .args([KEY, kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut holder = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "held\n");
    holder
}

fn end(mut holder: Child) {
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// Node 1 wants a record of node 0, where a process holds its chain and dies.
fn a_holder_dies(scene: &Scene, kind: &str) {
    let (here, there) = (scene.node(0), scene.node(1));
    here.ctdb(&["writekey", MOVING, KEY, "moved-here"])
        .unwrap()
        .ok()
        .unwrap();
    let holder = hold(here, kind);
    thread::scope(|scope| {
        let writer = scope.spawn(|| there.ctdb(&["writekey", MOVING, KEY, "moved-on"]));
        wait_until("a call that waits for the chain", LIMIT, || {
            anyhow::ensure!(statistic(here, "num_pending")? > 0, "nobody waits");
            Ok(())
        })
        .unwrap();
        // Who wants something else does not wait.
        here.ctdb(&["pstore", "kept.tdb", "meanwhile", "x"])
            .unwrap()
            .ok()
            .unwrap();
        assert!(!writer.is_finished());
        end(holder);
        writer.join().unwrap().unwrap().ok().unwrap();
    });
    assert!(read(scene.node(2), MOVING, KEY).unwrap().contains("moved-on"));
    scene.ends_well().unwrap();
}

#[test]
fn a_client_dies_that_holds_a_mutex_of_a_chain() {
    a_holder_dies(&scene(), "mutex");
}

#[test]
fn a_client_dies_that_holds_the_fcntl_lock_of_a_chain() {
    let scene = Scene::begin(three().conf("database", "tdb mutexes", "false")).unwrap();
    a_holder_dies(&scene, "fcntl");
}

/// A recovery needs the whole database: it waits, says for whom, and goes on when the lock is let go, however that
/// comes about.
fn a_recovery_waits_for_a_holder(scene: &Scene, kind: &str, said: &dyn Fn(&Child) -> String) {
    let all = [0, 1, 2];
    let generation = scene.cluster.generation().unwrap();
    let holder = hold(scene.node(1), kind);
    let line = said(&holder);
    thread::scope(|scope| {
        let recovery = scope.spawn(|| scene.node(0).ctdb(&["-T", "50", "recover"]));
        let waited = scene.node(1).wait_log(&line, LIMIT);
        let finished = recovery.is_finished();
        end(holder);
        waited.unwrap();
        assert!(!finished);
        recovery.join().unwrap().unwrap().ok().unwrap();
    });
    scene.healthy(&all).unwrap();
    assert_ne!(scene.cluster.generation().unwrap(), generation);
    scene.ends_well().unwrap();
}

#[test]
fn a_recovery_waits_for_the_holder_of_a_mutex_and_says_so() {
    a_recovery_waits_for_a_holder(&scene(), "mutex", &|_| {
        "moving.tdb: lock of the whole database not available for 10 s, held by a process that has".to_owned()
    });
}

#[test]
fn a_recovery_waits_for_the_holder_of_an_fcntl_lock_and_names_it() {
    let scene = Scene::begin(three().conf("database", "tdb mutexes", "false")).unwrap();
    a_recovery_waits_for_a_holder(&scene, "fcntl", &|holder| {
        format!(
            "not available for 10 s, held by process {} (fault-client)",
            holder.id()
        )
    });
}
