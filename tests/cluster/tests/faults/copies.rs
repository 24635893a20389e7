//! Which copy of a volatile record survives.

use ctdb_cluster_tests::scene::{MOVING, Scene, read};

use crate::{all_but, often, three};

/// Kills `victim` and takes it back; every node must read `value` in between and afterwards.
fn kill_and_read(scene: &Scene, victim: usize, key: &str, value: &str) {
    let others = all_but(victim);
    scene.node(victim).kill_all();
    scene.healthy(&others).unwrap();
    for &other in &others {
        let found = read(scene.node(other), MOVING, key).unwrap();
        assert!(found.contains(value), "node {other}: {found}");
    }
    scene.node(victim).start().unwrap();
    scene.healthy(&[0, 1, 2]).unwrap();
    let found = read(scene.node(victim), MOVING, key).unwrap();
    assert!(found.contains(value), "node {victim}: {found}");
}

fn write(scene: &Scene, pnn: usize, key: &str, value: &str) {
    scene
        .node(pnn)
        .ctdb(&["writekey", MOVING, key, value])
        .unwrap()
        .ok()
        .unwrap();
}

#[test]
fn the_newest_copy_survives_whoever_dies_but_its_only_holder() {
    let scene = Scene::begin(often(three())).unwrap();
    for victim in 0..3 {
        let holder = (victim + 1) % 3;
        for (key, writers) in [("a", [0, 1, 2]), ("b", [1, 2, 0]), ("c", [2, 0, 1])] {
            for pnn in writers {
                write(&scene, pnn, key, &format!("old-{victim}"));
            }
            write(&scene, holder, key, &format!("newest-{victim}-{key}"));
        }
        kill_and_read(&scene, victim, "a", &format!("newest-{victim}-a"));
        for key in ["b", "c"] {
            let found = read(scene.node(victim), MOVING, key).unwrap();
            assert!(found.contains(&format!("newest-{victim}-{key}")), "{found}");
        }
    }
    scene.ends_well().unwrap();
}

#[test]
fn after_a_recovery_the_copy_survives_its_data_master_too() {
    let scene = Scene::begin(often(three())).unwrap();
    for victim in 0..3 {
        let value = format!("recovered-{victim}");
        write(&scene, victim, "key", &value);
        scene.node(victim).ctdb(&["recover"]).unwrap().ok().unwrap();
        scene.healthy(&[0, 1, 2]).unwrap();
        kill_and_read(&scene, victim, "key", &value);
    }
    scene.ends_well().unwrap();
}

/// What the only holder took with it is gone; an older copy comes back rather than nothing or an error.
#[test]
fn when_the_only_holder_of_the_newest_copy_dies_an_older_one_is_read() {
    let scene = Scene::begin(often(three())).unwrap();
    write(&scene, 0, "key", "older");
    scene.node(0).ctdb(&["recover"]).unwrap().ok().unwrap();
    scene.healthy(&[0, 1, 2]).unwrap();
    write(&scene, 2, "key", "newer");
    kill_and_read(&scene, 2, "key", "older");
    scene.ends_well().unwrap();
}
