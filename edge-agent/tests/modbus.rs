//! Modbus devices that refuse, dawdle, fall silent or talk nonsense.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "common/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use edge_agent::config::{InputConfig, Settings};
use edge_agent::inputs::{Filter, Handed, Health, InputError, InputState, RowSink, Source, queue};
use edge_agent::pipeline::build;
use edge_agent::time::Clock;
use random::Random;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use schemas::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const WITHIN: Duration = Duration::from_secs(30);
const SEED: u64 = 0x4d6f_6462_7573_2121;

/// One request without what frames it, as a device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    unit: u8,
    function: u8,
    address: u16,
    count: u16,
}

impl Asked {
    fn parse(unit: u8, pdu: &[u8]) -> Self {
        let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
        Self { unit, function: pdu[0], address: word(1), count: word(3) }
    }

    /// Every register holds its address, and every third bit is on.
    fn answer(self) -> Vec<u8> {
        let places = self.address..self.address + self.count;
        let bytes: Vec<u8> = if self.function <= 2 {
            let bits: Vec<bool> = places.map(|place| place % 3 == 0).collect();
            let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
            bits.chunks(8).map(byte).collect()
        } else {
            places.flat_map(u16::to_be_bytes).collect()
        };
        [vec![self.function, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn refusal(self, code: u8) -> Vec<u8> {
        vec![self.function | 0x80, code]
    }
}

/// A device on TCP. What it says to a request is up to the test: whole frames, or nothing.
struct Device {
    address: String,
    asked: Arc<Mutex<Vec<(Instant, Asked)>>>,
}

impl Device {
    /// `answer` gets what was asked and the frame that would answer it.
    fn start(answer: impl FnMut(Asked, Vec<u8>) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (asked.clone(), Arc::new(Mutex::new(answer)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (seen.clone(), answer.clone());
                thread::spawn(move || serve(stream.unwrap(), &seen, &*answer));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().map(|(_, asked)| *asked).collect()
    }
}

/// Modbus Messaging on TCP/IP Implementation Guide, 3.1.3.
fn serve<A: FnMut(Asked, Vec<u8>) -> Option<Vec<u8>>>(
    mut stream: TcpStream,
    seen: &Mutex<Vec<(Instant, Asked)>>,
    answer: &Mutex<A>,
) {
    let mut frame = [0; 12];
    while stream.read_exact(&mut frame).is_ok() {
        let asked = Asked::parse(frame[6], &frame[7..]);
        seen.lock().unwrap().push((Instant::now(), asked));
        let said = answer.lock().unwrap()(asked, framed(&frame, &asked.answer()));
        match said {
            Some(bytes) if stream.write_all(&bytes).is_ok() => {}
            _ => return,
        }
    }
}

fn framed(request: &[u8; 12], pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
    [&request[..4], &length, &request[6..7], pdu].concat()
}

/// The input of these settings, built and run as the agent does it.
struct Running {
    config: InputConfig,
    sink: RowSink,
    rows: mpsc::Receiver<Handed>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), InputError>>,
    restarts: u32,
}

impl Running {
    fn start(settings: &str) -> Self {
        let settings: Settings = toml::from_str(settings).unwrap();
        let [config] = <[InputConfig; 1]>::try_from(settings.validate().unwrap().inputs).unwrap();
        let source = Source {
            name: config.name.clone(),
            destination: config.destination.clone(),
            tags: Vec::new(),
            health: Health::default(),
            is_trial: false,
        };
        let (sender, rows) = queue(4);
        let clock = Arc::new(Clock::of_this_machine());
        let sink = RowSink::new(source, Filter::default(), clock, sender, Arc::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(build(&config, None).run(sink.clone(), stop.clone()));
        Self { config, sink, rows, stop, task, restarts: 0 }
    }

    /// The next row's numbers; an input that failed is started again at once.
    async fn row(&mut self) -> BTreeMap<String, f64> {
        let next = async {
            loop {
                tokio::select! {
                    biased;
                    Some(Handed::Row(measured)) = self.rows.recv() => break measured,
                    ended = &mut self.task => {
                        assert!(ended.expect("no panic").is_err(), "it ends only where it fails");
                        self.restarts += 1;
                        let input = build(&self.config, None);
                        self.task = tokio::spawn(input.run(self.sink.clone(), self.stop.clone()));
                    }
                }
            }
        };
        let measured = tokio::time::timeout(WITHIN, next).await.expect("a row in time");
        let number = |value: Value| match value {
            Value::Float(number) => number,
            Value::Bool(truth) => f64::from(u8::from(truth)),
            other => panic!("{other:?}"),
        };
        measured.row.measurements.into_iter().map(|it| (it.name, number(it.value))).collect()
    }

    fn bad(&self) -> (u64, String) {
        let health = &self.sink.source().health;
        (health.view().bad, health.last_bad().unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn settings(address: &str, more: &str, registers: &[(&str, &str, u16)]) -> String {
    let mut text =
        format!("[[inputs]]\nkind = \"modbus\"\naddress = {address:?}\ninterval_ms = 10\n{more}\n");
    for (name, kind, address) in registers {
        text += &format!("[[inputs.registers]]\nname = {name:?}\nkind = {kind:?}\naddress = {address}\n");
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_that_is_refused_stops_none_of_its_neighbours() {
    let device = Device::start(|asked, frame| {
        let refuses = (asked.address..asked.address + asked.count).contains(&13);
        Some(if refuses { frame_of(&frame, &asked.refusal(2)) } else { frame })
    });
    let registers = [("a", "holding", 10), ("b", "holding", 12), ("c", "holding", 13), ("d", "holding", 15)];
    let mut input = Running::start(&settings(&device.address, "unit_id = 7", &registers));
    let all_but_c = BTreeMap::from([("a".into(), 10.0), ("b".into(), 12.0), ("d".into(), 15.0)]);
    for _ in 0..5 {
        assert_eq!(input.row().await, all_but_c);
    }
    let asked = device.asked();
    assert!(asked.iter().all(|asked| asked.unit == 7));
    let whole = asked.iter().filter(|asked| asked.count == 6).count();
    assert_eq!(whole, 1, "what is refused together is not asked for together again: {asked:?}");
    let (bad, last) = input.bad();
    assert!(bad >= 5 && last.contains("c (unit 7, holding 13)"), "{bad} {last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_busy_is_asked_for_as_much_as_before() {
    // Acknowledge, busy.
    let mut refusals = vec![6, 5, 6];
    let device = Device::start(move |asked, frame| {
        Some(refusals.pop().map_or(frame.clone(), |code| frame_of(&frame, &asked.refusal(code))))
    });
    let mut input = Running::start(&settings(&device.address, "", &WITH_GAPS));
    for _ in 0..3 {
        assert_eq!(input.row().await, with_gaps());
    }
    let asked = device.asked();
    assert!(asked.iter().all(|asked| asked.count == 6), "in one request each time: {asked:?}");
    let (bad, last) = input.bad();
    assert!(bad == 9 && last.contains("a (unit 1, holding 10): the device answered"), "{bad} {last}");
}

const WITH_GAPS: [(&str, &str, u16); 3] = [("a", "holding", 10), ("b", "holding", 12), ("c", "holding", 15)];

fn with_gaps() -> BTreeMap<String, f64> {
    BTreeMap::from([("a".into(), 10.0), ("b".into(), 12.0), ("c".into(), 15.0)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_fails_to_read_over_a_gap_is_asked_for_parts() {
    let device = Device::start(|asked, frame| {
        let has_gap = (asked.address..asked.address + asked.count).contains(&13);
        Some(if has_gap { frame_of(&frame, &asked.refusal(4)) } else { frame })
    });
    let mut input = Running::start(&settings(&device.address, "", &WITH_GAPS));
    for _ in 0..12 {
        assert_eq!(input.row().await, with_gaps(), "from the first round on");
    }
    let asked = device.asked();
    let whole = asked.iter().filter(|asked| asked.count == 6).count();
    assert_eq!(whole, 3, "it may have been out of order; then it is known: {asked:?}");
    assert_eq!(input.bad().0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_out_of_order_is_asked_for_as_much_as_before() {
    // It fails to read the whole, and its parts, which are not asked for again in the next fifteen rounds.
    let mut failures = 1 + 4 + 15;
    let device = Device::start(move |asked, frame| {
        let is_out_of_order = failures > 0;
        failures -= i32::from(is_out_of_order);
        Some(if is_out_of_order { frame_of(&frame, &asked.refusal(4)) } else { frame })
    });
    let mut input = Running::start(&settings(&device.address, "", &WITH_GAPS));
    for _ in 0..3 {
        assert_eq!(input.row().await, with_gaps());
    }
    let asked = device.asked();
    let parts = asked.iter().filter(|asked| asked.count < 6).count();
    assert_eq!(parts, 4, "{asked:?}");
    assert!(asked.len() >= 23, "{asked:?}");
}

/// The same head with another PDU.
fn frame_of(frame: &[u8], pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
    [&frame[..4], &length, &frame[6..7], pdu].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_silent_or_out_of_a_gateways_reach_stops_no_other() {
    let device = Device::start(|asked, frame| match asked.unit {
        1 => Some(frame),
        2 => Some(Vec::new()),
        _ => Some(frame_of(&frame, &asked.refusal(11))),
    });
    let children = "timeout_ms = 40\nchildren = { a = 1, b = 2, c = 3 }";
    let registers = [("x", "input", 5), ("y", "coil", 6), ("z", "discrete", 7)];
    let mut input = Running::start(&settings(&device.address, children, &registers));
    for _ in 0..5 {
        let row = BTreeMap::from([("a/x".into(), 5.0), ("a/y".into(), 1.0), ("a/z".into(), 0.0)]);
        assert_eq!(input.row().await, row);
    }
    let asked = device.asked();
    let of = |unit| asked.iter().filter(|asked| asked.unit == unit).count();
    assert!(2 * of(2) <= of(1), "one that is silent is not asked for everything: {asked:?}");
    assert!(2 * of(3) <= of(1), "nor one that a gateway does not reach: {asked:?}");
    assert!(!input.task.is_finished(), "the input goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_answers_some_requests_only_is_asked_those_first() {
    // A gateway in front of devices that say nothing to what they do not have.
    let device = Device::start(|asked, frame| {
        let is_known = asked.address >= 300;
        Some(if is_known { frame } else { frame_of(&frame, &asked.refusal(11)) })
    });
    let registers =
        [("a", "holding", 1), ("b", "holding", 100), ("c", "holding", 300), ("d", "holding", 400)];
    let mut input = Running::start(&settings(&device.address, "", &registers));
    for _ in 0..5 {
        assert_eq!(input.row().await, BTreeMap::from([("c".into(), 300.0), ("d".into(), 400.0)]));
    }
    assert_eq!(input.restarts, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_outlives_a_round_in_which_its_gateway_reached_nobody() {
    let mut refusals = 2;
    let device = Device::start(move |asked, frame| {
        let is_out_of_reach = refusals > 0;
        refusals -= i32::from(is_out_of_reach);
        Some(if is_out_of_reach { frame_of(&frame, &asked.refusal(11)) } else { frame })
    });
    let mut input = Running::start(&settings(&device.address, "", &[("x", "input", 5)]));
    input.row().await;
    assert_eq!((input.restarts, input.bad().0), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_none_of_whose_devices_answers_fails_and_says_why() {
    let silent = Device::start(|_, _| Some(Vec::new()));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, told) in [
        (silent.address, "no device answers: no answer within 50 ms"),
        (format!("tcp://{nobody}"), "Connection refused"),
        ("/dev/headwater-none".to_owned(), "/dev/headwater-none: No such file"),
    ] {
        let mut input = Running::start(&settings(&address, "timeout_ms = 50", &[("x", "input", 5)]));
        let ended = tokio::time::timeout(WITHIN, &mut input.task).await.unwrap().unwrap();
        let said = ended.unwrap_err().to_string();
        assert!(said.contains(told), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_whose_only_device_is_off_is_failing_before_each_of_its_requests_was_asked() {
    let silent = Device::start(|_, _| Some(Vec::new()));
    let registers = [("x", "input", 5), ("y", "coil", 6)];
    let settings = settings(&silent.address, "timeout_ms = 50", &registers);
    let input = Running::start(&settings.replace("interval_ms = 10\n", "interval_ms = 60000\n"));
    let health = &input.sink.source().health;
    let failing = async {
        while health.view().state != InputState::Failing {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WITHIN, failing).await.expect("it is told");
    let why = health.view().last_error.unwrap();
    assert!(why.contains("no device answers: no answer within 50 ms"), "{why}");
    assert_eq!((input.task.is_finished(), silent.asked().len()), (false, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_that_a_slow_device_made_impossible_are_not_made_up_for() {
    let mut count = 0;
    let device = Device::start(move |_, frame| {
        count += 1;
        if count == 2 {
            pause(Duration::from_millis(1100));
        }
        Some(frame)
    });
    let slow = settings(&device.address, "timeout_ms = 5000", &[("x", "input", 5)])
        .replace("interval_ms = 10\n", "interval_ms = 100\n");
    let mut input = Running::start(&slow);
    for _ in 0..8 {
        assert_eq!(input.row().await, BTreeMap::from([("x".to_owned(), 5.0)]));
    }
    let asked = device.asked.lock().unwrap().clone();
    let after = asked[7].0 - asked[2].0;
    assert!(after > Duration::from_millis(350), "five intervals, not at once: {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_closed_between_rounds_costs_no_row() {
    let mut count = 0;
    let device = Device::start(move |_, frame| {
        count += 1;
        // Every third request finds the connection closed.
        if count % 3 == 0 { None } else { Some(frame) }
    });
    let mut input = Running::start(&settings(&device.address, "", &[("x", "input", 5)]));
    for _ in 0..20 {
        input.row().await;
    }
    assert_eq!(input.bad().0, 0);
    assert!(!input.task.is_finished());
}

/// What a broken device makes of its answer.
fn mutate(mut frame: Vec<u8>, random: &mut Random) -> Option<Vec<u8>> {
    for _ in 0..=random.below(3) {
        let at = random.below(frame.len());
        let noise = random.below(256) as u8;
        match (random.below(10), frame.get_mut(at)) {
            (0, _) => return None,
            (1, _) => return Some(Vec::new()),
            (2, Some(byte)) => *byte ^= 1 << random.below(8),
            (3, Some(byte)) => *byte = noise,
            (4, _) => frame.truncate(at),
            (5, _) => frame.insert(at, noise),
            (6, _) => frame.extend_from_within(..at),
            (7, _) => frame.extend((0..random.below(300)).map(|n| n as u8 ^ noise)),
            (8, _) => frame.splice(..at, [noise; 3]).for_each(drop),
            _ => frame = (0..=random.below(40)).map(|n| n as u8 ^ noise).collect(),
        }
    }
    Some(frame)
}

const MIXED: [(&str, &str, u16); 6] = [
    ("a", "holding", 1),
    ("b", "holding", 4),
    ("c", "input", 300),
    ("d", "coil", 3),
    ("e", "coil", 19),
    ("f", "discrete", 9),
];

fn honest() -> BTreeMap<String, f64> {
    let value = |(name, kind, address): &(&str, &str, u16)| {
        let is_bit = matches!(*kind, "coil" | "discrete");
        ((*name).to_owned(), if is_bit { f64::from(u8::from(address % 3 == 0)) } else { (*address).into() })
    };
    MIXED.iter().map(value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_over_tcp_is_survived_and_the_next_answer_is_read() {
    let (mut random, mut count) = (Random(SEED), 0);
    let device = Device::start(move |_, frame| {
        count += 1;
        if count < 1000 { mutate(frame, &mut random) } else { Some(frame) }
    });
    let mut input = Running::start(&settings(&device.address, "timeout_ms = 10", &MIXED));
    while device.asked.lock().unwrap().len() < 1000 {
        input.row().await;
    }
    input.row().await;
    assert_eq!(input.row().await, honest());
    assert!(input.bad().0 > 100);
}

/// A device on a serial line: the other end of a pseudoterminal.
fn serial(mut answer: impl FnMut(Asked, Vec<u8>) -> Vec<u8> + Send + 'static) -> String {
    let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&end).unwrap();
    unlockpt(&end).unwrap();
    let path = ptsname(&end, Vec::new()).unwrap().into_string().unwrap();
    // As long as somebody has the line open, it is not hung up.
    let line = File::options().read(true).write(true).open(&path).unwrap();
    let mut end = File::from(end);
    thread::spawn(move || {
        let _line = line;
        let mut frame = [0; 8];
        while end.read_exact(&mut frame).is_ok() {
            let asked = Asked::parse(frame[0], &frame[1..]);
            let said = answer(asked, checked(&[&[asked.unit], asked.answer().as_slice()].concat()));
            end.write_all(&said).unwrap();
        }
    });
    path
}

/// Modbus over Serial Line, 6.2.2.
fn checked(frame: &[u8]) -> Vec<u8> {
    let step = |crc: u16, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 };
    let crc = frame.iter().fold(0xffff_u16, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), step));
    [frame, &crc.to_le_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_on_a_serial_line_is_never_taken_for_a_value() {
    let (mut random, mut count) = (Random(SEED), 0);
    let path = serial(move |_, frame| {
        count += 1;
        if count < 200 { mutate(frame, &mut random).unwrap_or_default() } else { frame }
    });
    let mut input = Running::start(&settings(&path, "timeout_ms = 20", &MIXED));
    let honest = honest();
    loop {
        // A CRC guards every answer: what is read at all is right.
        let row = input.row().await;
        assert!(row.iter().all(|(name, value)| honest.get(name) == Some(value)), "{row:?}");
        if input.bad().0 > 50 && row == honest {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_late_is_not_taken_for_the_next_request() {
    let mut late = 0;
    let path = serial(move |asked, frame| {
        if asked.address == 100 && late < 5 {
            late += 1;
            pause(Duration::from_millis(120));
        }
        frame
    });
    let registers = [("a", "holding", 0), ("b", "holding", 100)];
    let mut input = Running::start(&settings(&path, "timeout_ms = 80", &registers));
    loop {
        let row = input.row().await;
        assert_eq!(row["a"], 0.0, "{row:?}");
        if let Some(value) = row.get("b") {
            assert_eq!(*value, 100.0);
            break;
        }
    }
    assert_eq!(input.bad().0, 5);
}

#[expect(clippy::disallowed_methods, reason = "a device that is slow")]
fn pause(time: Duration) {
    thread::sleep(time);
}
