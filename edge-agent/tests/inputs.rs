//! Inputs of the program itself: every line once, whatever happens to the file, the agent, or a command.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use common::device::Device;
use common::fake_hub::FakeHub;
use common::program::{Agent, edge_agent, until};
use rustix::process::{Pid, Signal, kill_process};

impl Device {
    /// `{DIR}` in the settings is the folder.
    fn run(&self, hub: &FakeHub, settings: &str) -> Agent {
        Agent::run(&self.path("data"), &hub.url(), &["--config", &self.settings(settings)])
    }

    fn settings(&self, text: &str) -> String {
        self.configure(&format!("linger_ms = 20\n{}", text.replace("{DIR}", &self.text(""))))
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = File::options().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("data/agent.log")).unwrap_or_default()
    }
}

fn json_lines(numbers: std::ops::Range<u64>) -> String {
    numbers.fold(String::new(), |mut text, n| {
        writeln!(text, "{{\"ts\":{},\"n\":{n}}}", 1_700_000_000 + n).unwrap();
        text
    })
}

const TAIL: &str =
    "[[inputs]]\nkind = \"tail\"\npath = \"{DIR}app.log\"\nformat = \"json-lines\"\npoll_ms = 10\n";

#[test]
fn every_line_of_a_followed_file_comes_once_through_kills_and_rotations() {
    let (device, hub) = (Device::new(), FakeHub::start());
    let mut next = 0;
    let mut write = |device: &Device, lines: u64| {
        device.append("app.log", &json_lines(next..next + lines));
        next += lines;
        next
    };
    for round in 0..8u64 {
        let mut agent = device.run(&hub, TAIL);
        let before = hub.inner().hub.log.len();
        let written = write(&device, 700);
        // Killed wherever it is: as soon as anything came, half way, or when all is there.
        let enough = [before + 1, before + 300, written as usize][round as usize % 3];
        hub.wait("some lines", |inner| inner.hub.log.len() >= enough);
        if round % 2 == 0 {
            fs::rename(device.path("app.log"), device.path(&format!("app.log.{round}"))).unwrap();
            write(&device, 700);
        }
        agent.kill();
        write(&device, 50);
        if round % 4 == 1 {
            fs::rename(device.path("app.log"), device.path(&format!("app.log.{round}"))).unwrap();
        }
        write(&device, 50);
    }
    let _agent = device.run(&hub, TAIL);
    let all = usize::try_from(next).unwrap();
    hub.wait("every line", |inner| inner.hub.log.len() >= all);
    assert_eq!(hub.inner().hub.log, (0..next).collect::<Vec<_>>());
}

#[test]
fn a_stopped_agent_goes_on_after_the_last_line() {
    let (device, hub) = (Device::new(), FakeHub::start());
    for round in 0..4 {
        device.append("app.log", &json_lines(round * 100..(round + 1) * 100));
        let mut agent = device.run(&hub, TAIL);
        let lines = (round as usize + 1) * 100;
        hub.wait("its lines", |inner| inner.hub.log.len() >= lines);
        assert!(agent.stop().success());
    }
    assert_eq!(hub.inner().hub.log, (0..400).collect::<Vec<_>>());
}

#[test]
fn finished_files_are_read_once_and_renamed_also_by_an_agent_that_is_killed() {
    let (device, hub) = (Device::new(), FakeHub::start());
    let settings =
        "[[inputs]]\nkind = \"files\"\npath = \"{DIR}in\"\nformat = \"csv\"\nsettle_ms = 50\npoll_ms = 10\n";
    fs::create_dir(device.path("in")).unwrap();
    let rows = 3000;
    for file in 0..5u64 {
        let lines: String =
            (file * rows..(file + 1) * rows).map(|n| format!("{},{n}\n", 1_700_000_000 + n)).collect();
        device.append(&format!("in/{file}.csv"), &format!("ts,n\n{lines}"));
        let mut agent = device.run(&hub, settings);
        let some = usize::try_from(file * rows).unwrap() + 1;
        hub.wait("some rows", |inner| inner.hub.log.len() >= some);
        agent.kill();
    }
    device.append("in/broken.csv", "a,a\n1,2\n");
    let _agent = device.run(&hub, settings);
    let is_done = |name: &str| device.path(&format!("in/{name}")).exists();
    until("the files are put away", || is_done("4.csv.done").then_some(()));
    until("the broken one too", || is_done("broken.csv.bad").then_some(()));
    hub.wait("every row", |inner| inner.hub.log.len() >= usize::try_from(5 * rows).unwrap());
    assert_eq!(hub.inner().hub.log, (0..5 * rows).collect::<Vec<_>>());
    assert!((0..5).all(|file| is_done(&format!("{file}.csv.done")) && !is_done(&format!("{file}.csv"))));
}

#[test]
fn files_that_cannot_be_put_away_are_read_once_and_hold_up_no_other() {
    let (device, hub) = (Device::new(), FakeHub::start());
    let settings = "[[inputs]]\nkind = \"files\"\npath = \"{DIR}in\"\nformat = \"json-lines\"\nsettle_ms = 0\n\
                    poll_ms = 10\nwhen_done = \"move\"\nmove_to = \"{DIR}done/here\"\n";
    fs::create_dir(device.path("in")).unwrap();
    // A file is where the folder is to be.
    device.append("done", "");
    for file in 0..3u64 {
        device.append(&format!("in/{file}.json"), &json_lines(file * 10..(file + 1) * 10));
    }
    let mut agent = device.run(&hub, settings);
    hub.wait("the rows of each", |inner| inner.hub.log.len() >= 30);
    let status =
        agent.wait("trouble with each", |status| status["inputs"]["files"]["bad"].as_u64() >= Some(6));
    let files = &status["inputs"]["files"];
    let told = files["last_bad"].as_str().unwrap();
    assert!(told.contains("0.json: it was read and cannot be put away: "), "{told}");
    assert_eq!((&files["restarts"], &files["rows"]), (&0.into(), &30.into()), "{files}");
    agent.wait("how many there are", |status| {
        status["inputs"]["files"]["last_error"] == "3 files were read and cannot be put away"
    });
    // A new life of the input knows them too.
    let path = device.settings(&format!("{settings}tags = {{ a = \"b\" }}\n"));
    assert!(fs::read_to_string(path).unwrap().contains("tags"));
    agent.signal(Signal::HUP);
    device.append("in/3.json", &json_lines(30..40));
    hub.wait("the new file's", |inner| inner.hub.log.len() >= 40);
    // The next run too, whatever ended this one.
    for (file, kills) in [(4u64, false), (5, true)] {
        if kills {
            agent.kill();
        } else {
            assert!(agent.stop().success());
        }
        device.append(&format!("in/{file}.json"), &json_lines(file * 10..(file + 1) * 10));
        agent = device.run(&hub, settings);
        agent.wait("all that are there", |status| {
            let told = format!("{} files were read and cannot be put away", file + 1);
            status["inputs"]["files"]["last_error"] == told.as_str()
        });
        hub.wait("the newest file's", |inner| inner.hub.log.len() >= 10 * (file as usize + 1));
    }
    fs::remove_file(device.path("done")).unwrap();
    until("they are put away", || fs::read_dir(device.path("in")).unwrap().next().is_none().then_some(()));
    assert_eq!(hub.inner().hub.log, (0..60).collect::<Vec<_>>());
    let names: Vec<_> = (0..6).map(|file| format!("{file}.json")).collect();
    assert_eq!(files_in(&device.path("done/here")), names);
}

const FILES: &str = "[[inputs]]\nkind = \"files\"\npath = \"{DIR}in\"\nformat = \"json-lines\"\nsettle_ms = 0\n\
                     poll_ms = 10\nwhen_done = \"delete\"\n";

#[test]
fn a_file_in_the_place_of_one_that_was_put_away_is_another_also_after_a_restart() {
    let (device, hub) = (Device::new(), FakeHub::start());
    fs::create_dir(device.path("in")).unwrap();
    for rows in [30, 60] {
        // Most file systems give it the inode of the one that is gone.
        device.append("in/a.json", &json_lines(0..30));
        let mut agent = device.run(&hub, FILES);
        hub.wait("its rows", |inner| inner.hub.log.len() >= rows);
        until("it is deleted", || (!device.path("in/a.json").exists()).then_some(()));
        assert!(agent.stop().success());
    }
    assert_eq!(hub.inner().hub.log, (0..30).chain(0..30).collect::<Vec<_>>());
}

#[test]
fn what_takes_a_files_place_or_is_added_to_it_while_its_rows_linger_is_read_too() {
    let (device, hub) = (Device::new(), FakeHub::start());
    fs::create_dir(device.path("in")).unwrap();
    device.append("in/a.json", &json_lines(0..30));
    device.append("in/b.json", &json_lines(100..130));
    let settings =
        device.configure(&format!("linger_ms = 2000\n{}", FILES.replace("{DIR}", &device.text(""))));
    let agent = Agent::run(&device.path("data"), &hub.url(), &["--config", &settings]);
    let rows = |rows: u64| {
        agent.wait("the rows", |status| status["inputs"]["files"]["rows"].as_u64() >= Some(rows));
    };
    rows(30);
    device.append("in/.a.json", &json_lines(30..40));
    fs::rename(device.path("in/.a.json"), device.path("in/a.json")).unwrap();
    rows(60);
    device.append("in/b.json", &json_lines(130..140));
    until("all are deleted", || files_in(&device.path("in")).is_empty().then_some(()));
    hub.wait("every row", |inner| inner.hub.log.len() >= 80);
    let mut all = hub.inner().hub.log.clone();
    all.sort_unstable();
    assert_eq!(all, (0..40).chain(100..140).collect::<Vec<_>>());
}

#[test]
fn rows_of_standard_input_are_shipped_and_its_end_disturbs_nobody() {
    let (device, hub) = (Device::new(), FakeHub::start());
    let config = device.settings(&format!("[[inputs]]\nkind = \"stdin\"\nformat = \"json-lines\"\n{TAIL}"));
    let mut command = edge_agent(&["run", "--device-id", "pump-1", "--hub", &hub.url(), "--config", &config]);
    command.args(["--data-dir", &device.text("data")]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(json_lines(0..50).as_bytes()).unwrap();
    hub.wait("the rows", |inner| inner.hub.log.len() == 50);
    drop(input);
    device.append("app.log", &json_lines(50..60));
    hub.wait("the file's", |inner| inner.hub.log.len() == 60);
    assert_eq!(hub.inner().hub.log, (0..60).collect::<Vec<_>>());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Whether a process is there and is no corpse.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn a_command_that_hangs_is_killed_with_all_that_it_started_and_run_again() {
    let (device, hub) = (Device::new(), FakeHub::start());
    // It and its child take no notice of SIGTERM.
    let script = "trap '' TERM; n=$(cat {DIR}n 2>/dev/null || echo 0); echo $((n+1)) > {DIR}n; echo \"ts,n\"; \
                  echo \"1700000000,$n\"; [ $n = 1 ] && { (while :; do sleep 1; done) & echo $! > {DIR}child; wait; }; true";
    let settings = format!(
        "[[inputs]]\nkind = \"exec\"\nformat = \"csv\"\ninterval_ms = 50\ntimeout_ms = 1000\ncommand = [\"sh\", \"-c\", {script:?}]\n"
    );
    let agent = device.run(&hub, &settings);
    hub.wait("later runs", |inner| inner.hub.log.len() >= 4);
    let log = hub.inner().hub.log.clone();
    assert_eq!(log[..4], [0, 1, 2, 3]);
    let child = fs::read_to_string(device.path("child")).unwrap();
    until("the child is gone", || (!is_running(child.trim())).then_some(()));
    assert!(device.log().contains("was killed"), "{}", device.log());
    drop(agent);
}

#[test]
fn a_command_that_is_to_run_for_ever_is_started_again_and_ended_with_the_agent() {
    let (device, hub) = (Device::new(), FakeHub::start());
    let script = "n=$(cat {DIR}n 2>/dev/null || echo 0); echo $((n+1)) > {DIR}n; echo \"m n=$n 1\"; \
                  [ $n = 0 ] && { echo sorry >&2; exit 3; }; echo $$ > {DIR}pid; sleep 1000";
    let settings = format!(
        "[[inputs]]\nkind = \"exec\"\nname = \"meter\"\nformat = \"line-protocol\"\ncommand = [\"sh\", \"-c\", {script:?}]\n\
         [[sensors]]\nmatch = \"m.n\"\nrename = \"n\"\n"
    );
    let mut agent = device.run(&hub, &settings);
    hub.wait("the second start", |inner| inner.hub.log == [0, 1]);
    assert!(device.log().contains("exit status: 3: sorry"), "{}", device.log());
    let pid =
        until("its pid", || fs::read_to_string(device.path("pid")).ok().filter(|pid| pid.ends_with('\n')));
    assert!(is_running(pid.trim()));
    assert!(agent.stop().success());
    assert!(!is_running(pid.trim()));
}

#[test]
fn an_input_that_fails_and_rows_that_are_bad_disturb_nobody() {
    let (device, hub) = (Device::new(), FakeHub::start());
    let good = |n: u64| format!("{},{n}\n", 1_700_000_000 + n);
    let mut text = "ts,n\n".to_owned();
    for n in 0..500 {
        text += &good(n);
        text += ["soon,1\n", "1700000000\n", "1700000000,NaN\n", "\u{fffd}\"\n"][n as usize % 4];
    }
    device.append("rows.csv", &text);
    let settings = "[[inputs]]\nkind = \"tail\"\npath = \"{DIR}rows.csv\"\nformat = \"csv\"\ntags = { site = \"north\" }\n\
                    [[inputs]]\nkind = \"exec\"\nname = \"gone\"\ncommand = [\"/nonexistent\"]\nformat = \"csv\"\n\
                    [[inputs]]\nkind = \"tail\"\nname = \"pipe\"\npath = \"{DIR}pipe\"\nformat = \"csv\"\n\
                    [[inputs]]\nkind = \"tail\"\nname = \"folder\"\npath = \"{DIR}data\"\nformat = \"csv\"\n";
    rustix::fs::mknodat(
        rustix::fs::CWD,
        device.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let agent = device.run(&hub, settings);
    hub.wait("the good rows", |inner| inner.hub.log.len() >= 500);
    device.append("rows.csv", &good(500));
    hub.wait("one more", |inner| inner.hub.log.len() > 500);
    assert_eq!(hub.inner().hub.log, (0..=500).collect::<Vec<_>>());
    assert!(
        hub.inner()
            .hub
            .headers
            .iter()
            .all(|(name, value)| (name.as_str(), value.as_str()) == ("tag.site", "north"))
    );
    let log = device.log();
    assert!(
        log.lines().filter(|line| line.contains("no time") || line.contains("cells")).count() <= 2,
        "{log}"
    );
    assert!(
        log.contains("/nonexistent") && log.contains("gone") && log.matches("regular file").count() >= 2,
        "{log}"
    );
    let status = agent.wait("how the inputs fare", |status| status["inputs"]["gone"]["state"] == "failing");
    let (gone, tail) = (&status["inputs"]["gone"], &status["inputs"]["tail"]);
    assert!(gone["last_error"].as_str().unwrap().contains("/nonexistent"), "{gone}");
    assert!(gone["failing_ms"].as_u64().unwrap() > 0 && gone["restarts"].as_u64().unwrap() > 0, "{gone}");
    assert_eq!((&tail["state"], &tail["rows"]), (&"running".into(), &501.into()), "{tail}");
    assert!(tail["bad"].as_u64().unwrap() >= 375 && tail["last_bad"].is_string(), "{tail}");
    let told = edge_agent(&["status", "--data-dir", &device.text("data")]).output().unwrap().stdout;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("input       gone: failing for ") && told.contains("last: /nonexistent"), "{told}");
    assert!(told.contains("input       tail: running, 501 rows, "), "{told}");
}

#[test]
fn a_full_buffer_that_blocks_holds_the_file_back_and_drops_nothing() {
    let (device, hub) = (Device::new(), FakeHub::start());
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state ^ (state >> 29))
    };
    let lines = 60_000u64;
    let mut text = String::new();
    for n in 0..lines {
        let words: String = (0..10).map(|_| noise()).collect();
        writeln!(text, "{{\"ts\":{},\"n\":{n},\"noise\":\"{words}\"}}", 1_700_000_000 + n).unwrap();
    }
    device.append("app.log", &text);
    let settings = format!("buffer_bytes = 4194304\n{TAIL}[buffer]\npolicy = \"block\"\n");
    let mut nobody =
        Agent::run(&device.path("data"), "mqtt://127.0.0.1:1", &["--config", &device.settings(&settings)]);
    let full = nobody.wait("a full buffer", |status| {
        status["buffer"]["bytes"].as_u64().unwrap() > 3 << 20
            && status["records"]["appended"].as_u64().unwrap() > 10_000
    });
    assert_eq!(full["records"]["dropped"], 0);
    assert!(nobody.stop().success(), "also one whose inputs wait for room");
    let _agent = device.run(&hub, &settings);
    hub.wait("every line", |inner| inner.hub.log.len() >= lines as usize);
    let inner = hub.inner();
    assert_eq!((inner.hub.lost, inner.hub.gaps), (0, 0));
    assert_eq!(inner.hub.log, (0..lines).collect::<Vec<_>>());
}

fn checked(settings: &str, device: &Device) -> (Option<i32>, String, String) {
    let output =
        edge_agent(&["check", "--wait", "2", "--config", &device.settings(settings)]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn files_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn check_tries_every_input_once_and_changes_nothing() {
    let device = Device::new();
    fs::create_dir(device.path("in")).unwrap();
    device.append("in/a.csv", "ts,T1\n1452533400,19.89\n");
    device.append("app.log", "{\"n\": 1}\n");
    device.append("bad.csv", "ts,a\nsoon,1\n");
    let good = "[[inputs]]\nkind = \"host\"\n\
                [[inputs]]\nkind = \"files\"\npath = \"{DIR}in\"\nformat = \"csv\"\nsettle_ms = 0\ntags = { site = \"north\" }\n\
                [[inputs]]\nkind = \"tail\"\npath = \"{DIR}app.log\"\nformat = \"json-lines\"\n\
                [[inputs]]\nkind = \"tail\"\nname = \"later\"\npath = \"{DIR}later.log\"\nformat = \"json-lines\"\n\
                [[inputs]]\nkind = \"files\"\nname = \"gone\"\npath = \"{DIR}out/*.csv\"\nformat = \"csv\"\n\
                [[inputs]]\nkind = \"files\"\nname = \"none\"\npath = \"{DIR}in/*.txt\"\nformat = \"csv\"\n\
                [[sensors]]\nmatch = \"T1\"\nunit = \"Cel\"\nrename = \"oven\"\n";
    let (code, said, why) = checked(good, &device);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 6), "{said}{why}");
    assert!(lines[0].starts_with("host   ok      load.1m: "), "{said}");
    assert_eq!(lines[1], "files  ok      2016-01-11T17:30:00Z, site=north, oven: 19.89 Cel");
    assert_eq!(lines[2], "tail   ok      n: 1");
    assert_eq!(lines[3], format!("later  WARN    {} is not there yet", device.text("later.log")));
    assert_eq!(lines[4], format!("gone   WARN    {} is not there yet", device.text("out")));
    assert_eq!(lines[5], "none   ok      no row within 2 s");
    let bad = "[[inputs]]\nkind = \"exec\"\ncommand = [\"/nonexistent\"]\nformat = \"csv\"\n\
               [[inputs]]\nkind = \"tail\"\npath = \"{DIR}bad.csv\"\nformat = \"csv\"\n";
    let (code, said, why) = checked(bad, &device);
    assert_eq!(code, Some(1));
    assert!(said.contains("exec  FAILED  /nonexistent: No such file"), "{said}");
    assert!(said.contains("tail  FAILED  no row can be taken: line 2: \"soon\" is no time"), "{said}");
    assert!(why.contains("2 of 2 inputs do not work"), "{why}");
    assert_eq!(checked("[[inputs]]\nkind = \"tail\"\nformat = \"csv\"\npath = \"x\"\n", &device).0, Some(2));
    assert_eq!(files_in(&device.path("in")), ["a.csv"]);
    assert!(files_in(&device.path("data")).is_empty());
}

/// The settings that are written down for people: understood, whatever comes of the inputs on this machine.
#[test]
fn the_examples_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split("## What the agent reads").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks: Vec<&str> =
        section.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let host = "[[inputs]]\nkind = \"host\"\n";
    let device = Device::new();
    let example = fs::read_to_string(root.join("deploy/agent.toml")).unwrap();
    fs::write(device.path("example.toml"), example).unwrap();
    fs::write(device.path("readme.toml"), format!("{host}{}", blocks.concat())).unwrap();
    assert!(blocks.len() >= 2);
    for (name, inputs) in [("example.toml", 8), ("readme.toml", 5)] {
        let output = edge_agent(&["check", "--wait", "1", "--config", &device.text(name)]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.lines().count(), inputs, "{said}");
    }
}
