//! One fault at a time, under load. Each test runs in a network of its own, and one after another: a cluster and
//! its load take the whole machine.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use chaos::world::World;
use rand::Rng;
use rustix::process::Signal;
use testkit::disk::Disk;
use testkit::network::Host;
use testkit::{network, strace, tools, wait};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Longer than any election timeout of a hub.
const LONG: Duration = Duration::from_secs(4);
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// Runs a test in its network, where the machine has what that takes.
fn in_network(name: &str, programs: &[&str], test: impl FnOnce()) {
    let there = programs.iter().all(|program| tools::find(program, name).is_some());
    if !there || tools::find("nft", name).is_none() || !tools::is_root(name) {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    network::within(name, test);
}

fn random_pause() {
    wait::pause(Duration::from_millis(e2e::seed::generator().gen_range(0..700)));
}

#[test]
fn what_a_test_has_started_ends_with_it_when_it_fails() {
    in_network("what_a_test_has_started_ends_with_it_when_it_fails", &[], || {
        let folder = tempfile::tempdir().unwrap();
        let (mut programs, mut hosts) = (Vec::new(), Vec::new());
        let failing = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(folder.path(), 3, 3);
            programs.extend(world.load.processes());
            for node in world.cluster.nodes() {
                programs.push(world.cluster.hub(node).process().unwrap().id());
                hosts.push(world.network.host(node).clone());
            }
            assert!(programs.iter().all(|id| is_running(*id)) && hosts.iter().all(Host::is_there));
            panic!("fails as a test does");
        }));
        let said = failing.unwrap_err().downcast_ref::<&str>().copied();
        assert_eq!((said, programs.len()), (Some("fails as a test does"), 5));
        let left: Vec<_> = programs.iter().filter(|id| is_running(**id)).collect();
        assert!(left.is_empty(), "these run on: {left:?}");
        let left: Vec<_> = hosts.iter().filter(|host| host.is_there()).collect();
        assert!(left.is_empty(), "these are left: {left:?}");
    });
}

fn is_running(process: u32) -> bool {
    std::path::Path::new(&format!("/proc/{process}")).exists()
}

#[test]
fn nothing_is_lost_when_leaders_and_followers_are_killed() {
    in_network("nothing_is_lost_when_leaders_and_followers_are_killed", &[], || {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 3, 3);
        for round in 0..6 {
            let (leader, follower) = world.leader_and_follower();
            let node = if round % 2 == 0 { leader } else { follower };
            random_pause();
            world.cluster.hub(node).kill();
            world.wait_progress();
            world.cluster.hub(node).start();
            world.cluster.wait_replicated();
        }
        world.finish(&[1, 2, 3]);
    });
}

#[test]
fn nothing_is_lost_when_hubs_stand_still() {
    in_network("nothing_is_lost_when_hubs_stand_still", &[], || {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 3, 3);
        for round in 0..4 {
            let (leader, follower) = world.leader_and_follower();
            let hub = world.cluster.hub(if round % 2 == 0 { leader } else { follower });
            hub.process().unwrap().signal(Signal::STOP);
            wait::pause(LONG);
            world.wait_progress();
            let stopped = if round % 2 == 0 { leader } else { follower };
            world.cluster.hub(stopped).process().unwrap().signal(Signal::CONT);
            world.wait_progress();
        }
        world.finish(&[1, 2, 3]);
    });
}

#[test]
fn nothing_is_lost_when_hubs_do_not_hear_each_other() {
    in_network("nothing_is_lost_when_hubs_do_not_hear_each_other", &[], || {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(folder.path(), 3, 3);
        let cuts: [fn(&World, usize, usize); 4] = [
            |world, leader, _| world.network.isolate(leader),
            |world, leader, follower| world.network.cut(leader, follower),
            |world, leader, follower| world.network.cut(follower, leader),
            |world, leader, follower| world.network.part(leader, follower),
        ];
        for cut in cuts {
            let (leader, follower) = world.leader_and_follower();
            cut(&world, leader, follower);
            wait::pause(LONG);
            world.wait_progress();
            world.network.heal();
            world.wait_progress();
            world.cluster.wait_replicated();
        }
        world.finish(&[1, 2, 3]);
    });
}

#[test]
fn nothing_is_lost_on_a_slow_disk() {
    in_network("nothing_is_lost_on_a_slow_disk", &["strace"], || {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 3, 3);
        // First a disk that takes long, then one that hangs for longer than an election timeout.
        for delay_us in [50_000, 3_000_000] {
            let (leader, _) = world.leader_and_follower();
            let (hub, fault) = (world.cluster.hub(leader), format!("delay_enter={delay_us}"));
            let log = folder.path().join("strace.log");
            let slow = strace::inject(hub.process().unwrap(), "fdatasync", &fault, &[], &log);
            wait::pause(LONG);
            world.wait_progress();
            slow.stop(BACK_WITHIN);
            world.wait_progress();
        }
        world.finish(&[1, 2, 3]);
    });
}

#[test]
fn nothing_is_lost_when_a_disk_is_full() {
    in_network("nothing_is_lost_when_a_disk_is_full", &[], || {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::memory(folder.path(), 300);
        let small = |node, hub: testkit::Hub| {
            let hub = hub.with_variable("HEADWATER_WAL_FILE_BYTES", "8388608");
            if node == 2 { hub.with_data_dir(&disk.path().join("hub")) } else { hub }
        };
        let world = World::with(folder.path(), 3, 3, small);
        let filler = disk.path().join("filler");
        // What it led is led by others soon.
        fill(&filler);
        world.wait_progress();
        std::fs::remove_file(&filler).unwrap();
        world.wait_progress();
        world.finish(&[1, 2, 3]);
    });
}

fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 64 * 1024]).is_ok() {}
}

#[test]
fn nothing_is_lost_when_a_disk_is_wiped() {
    in_network("nothing_is_lost_when_a_disk_is_wiped", &[], || {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 3, 3);
        for _ in 0..2 {
            let (leader, _) = world.leader_and_follower();
            world.cluster.hub(leader).kill();
            std::fs::remove_dir_all(world.cluster.hub(leader).data_dir()).unwrap();
            world.wait_progress();
            world.cluster.hub(leader).start();
            world.wait_progress();
            world.cluster.wait_replicated();
        }
        world.finish(&[1, 2, 3]);
    });
}

#[test]
fn nothing_is_lost_when_the_power_of_all_hubs_goes_at_once() {
    let name = "nothing_is_lost_when_the_power_of_all_hubs_goes_at_once";
    in_network(name, &["mkfs.ext4", "xfs_io"], || {
        let folder = tempfile::tempdir().unwrap();
        let disks: Vec<Disk> = (1..=3)
            .map(|node| {
                let home = folder.path().join(format!("disk-{node}"));
                std::fs::create_dir_all(&home).unwrap();
                Disk::ext4(&home, 1500)
            })
            .collect();
        let on_disk = |node: usize, hub: testkit::Hub| hub.with_data_dir(&disks[node - 1].path().join("hub"));
        let mut world = World::with(folder.path(), 3, 3, on_disk);
        for _ in 0..3 {
            random_pause();
            disks.iter().for_each(Disk::cut_power);
            for node in world.cluster.nodes() {
                world.cluster.hub(node).kill();
            }
            disks.iter().for_each(Disk::restore_power);
            for node in world.cluster.nodes() {
                world.cluster.hub(node).spawn();
            }
            world.wait_progress();
        }
        world.finish(&[1, 2, 3]);
    });
}

#[test]
fn nothing_is_lost_in_a_rolling_restart() {
    in_network("nothing_is_lost_in_a_rolling_restart", &[], || {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 3, 3);
        for node in world.cluster.nodes() {
            let ended = world.cluster.hub(node).stop();
            assert!(ended.is_some_and(|status| status.success()), "hub {node}: {ended:?}");
            world.wait_progress();
            world.cluster.hub(node).start();
            world.cluster.wait_replicated();
        }
        world.finish(&[1, 2, 3]);
    });
}

#[test]
fn nothing_is_lost_when_a_hub_is_added_and_one_drained() {
    in_network("nothing_is_lost_when_a_hub_is_added_and_one_drained", &[], || {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 3, 4);
        let (hub, address) = world.another_hub(4);
        let added = world.cluster.add(hub, address);
        world.cluster.hub(added).start();
        world.wait_progress();
        world.cluster.wait_replicated();
        let drained = world.cluster.hub(1).tool(&["cluster", "drain", "2"]).output().unwrap();
        assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        world.wait_progress();
        let ended = world.cluster.hub(2).stop();
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
        let removed = world.cluster.hub(1).tool(&["cluster", "remove", "2"]).output().unwrap();
        assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
        world.wait_progress();
        world.finish(&[1, 3, 4]);
    });
}
