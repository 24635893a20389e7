//! A file system without room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ctdb_cluster_tests::scene::{LIMIT, MOVING, Scene};
use ctdb_harness::{Node, run_limited, skip, wait_until};
use tempfile::TempDir;

use crate::three;

/// A tmpfs of some megabytes; unmounted with this value.
struct Small(TempDir);

impl Small {
    /// `None`, noted as a skip, where this process may not mount.
    fn mount(megabytes: u32) -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "small"]).arg(dir.path());
        match run_limited(&mut mount, LIMIT).and_then(ctdb_harness::ToolRun::ok) {
            Ok(_) => Some(Small(dir)),
            Err(error) => {
                skip(&format!("mounting a small tmpfs needs root: {error:#}"));
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file until no more than `room` bytes are left.
    fn fill(&self, room: u64) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
        let len = file.metadata().unwrap().len();
        file.set_len(len - room).unwrap();
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        let _ = run_limited(umount.arg("-l").arg(self.path()), LIMIT);
    }
}

/// Stores records of 16 kB as a client of this node would.
fn store(node: &Node, records: u32) -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fault-client"));
    node.in_this_node(&mut command)
        .arg("fill")
        .arg(node.volatile_db(MOVING))
        .args([node.pnn().to_string(), records.to_string(), "16384".to_owned()]);
    run_limited(&mut command, LIMIT)?.ok()?;
    Ok(())
}

/// More records than a node keeps in memory between the push and the commit, and no room for the rest in its state
/// directory: the recovery fails, says where room is needed, and succeeds once there is some.
#[test]
fn the_state_directory_is_full_when_a_recovery_needs_it() {
    let Some(small) = Small::mount(1) else { return };
    let state = small.path().join("state");
    fs::create_dir(&state).unwrap();
    let nodes = three().node_conf(
        1,
        "database",
        "state database directory",
        &state.display().to_string(),
    );
    let scene = Scene::begin(nodes).unwrap();
    store(scene.node(0), 6000).unwrap();
    small.fill(0);
    std::thread::scope(|scope| {
        scope.spawn(|| scene.node(0).ctdb(&["-T", "50", "recover"]));
        let said = scene.node(1).wait_log("free space there", LIMIT);
        run_limited(
            Command::new("mount")
                .args(["-o", "remount,size=200m"])
                .arg(small.path()),
            LIMIT,
        )
        .and_then(ctdb_harness::ToolRun::ok)
        .unwrap();
        said.unwrap();
    });
    scene.ends_well().unwrap();
}

/// Everything is on the full file system: databases, state, logs, sockets, the cluster lock.
#[test]
fn the_file_system_of_all_nodes_is_full_and_gets_room_again() {
    let Some(small) = Small::mount(40) else { return };
    let scene = Scene::begin(three().parent_dir(small.path())).unwrap();
    // The first lines about it find room in the logs; what comes later is lost, and does no other harm.
    let filler = small.fill(1 << 16);
    // Files can't grow: a store fails, and so do recoveries as long as there is no room. Daemons go on.
    let big = "x".repeat(100_000);
    let refused = scene
        .node(0)
        .ctdb(&["-T", "5", "pstore", "kept.tdb", "big", &big])
        .unwrap();
    assert_ne!(refused.code, Some(0), "{}", refused.text());
    // Whether this one succeeds depends on the length of the files; it must do no harm.
    let _ = scene.node(1).ctdb(&["-T", "5", "recover"]).unwrap();
    assert!(
        scene
            .cluster
            .nodes()
            .iter()
            .any(|node| node.log_contains("disk is full")),
        "{}",
        scene.cluster.log_tails(20)
    );
    for node in scene.cluster.nodes() {
        assert!(node.is_running(), "node {}", node.pnn());
        node.state().unwrap();
    }
    fs::remove_file(filler).unwrap();
    wait_until("a store", LIMIT, || {
        let run = scene
            .node(0)
            .ctdb(&["-T", "5", "pstore", "kept.tdb", "big", &big])?;
        ensure!(run.code == Some(0), "{}{}", run.text(), run.errors());
        Ok(())
    })
    .context("after room was made")
    .unwrap();
    scene.ends_well().unwrap();
}
