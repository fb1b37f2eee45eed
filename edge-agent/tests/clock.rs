//! Agents on devices whose clocks are wrong, in this process: what they stamp, what they believe, and what they keep
//! for the next boot. The hubs are on sockets, with TLS and certificates that are valid now.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::fake_hub::FakeHub;
use common::program::until;
use common::world::{block_on, no_checker};
use common::{device, open, options};
use edge_agent::agent::{Agent, Ground, Remote, Setup};
use edge_agent::buffer::{Buffer, BufferOptions};
use edge_agent::config::{Settings, TlsSettings};
use edge_agent::data_dir::DataDir;
use edge_agent::inputs::Roster;
use edge_agent::time::{Clock, ClockStatus, Machine, Source};
use edge_agent::timekeeper::Timekeeper;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DAY_MS: i64 = 24 * 3600 * 1000;
const YEAR_MS: i64 = 365 * DAY_MS;
/// A wrong time is wrong by more than this.
const NEAR_MS: i64 = 5 * 60_000;
/// Where nobody listens.
const NO_HUB: &str = "mqtt://127.0.0.1:1";

fn true_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A machine whose clocks go right and show what they were set to.
#[derive(Clone, Debug)]
struct Hands(Arc<Set>);

#[derive(Debug)]
struct Set {
    booted: Instant,
    /// How long ago it booted then.
    up_ms: i64,
    kernel_offset_ms: AtomicI64,
    is_synchronised: AtomicBool,
    hardware_offset_ms: Option<i64>,
}

impl Hands {
    /// Booted two minutes ago.
    fn showing(kernel_ms: i64, hardware_ms: Option<i64>) -> Self {
        let up_ms = 120_000;
        Self(Arc::new(Set {
            booted: Instant::now(),
            up_ms,
            kernel_offset_ms: AtomicI64::new(kernel_ms - up_ms),
            is_synchronised: AtomicBool::new(false),
            hardware_offset_ms: hardware_ms.map(|ms| ms - up_ms),
        }))
    }

    fn synchronise(&self) {
        self.0.kernel_offset_ms.store(true_ms() - self.boot_ms(), Ordering::Relaxed);
        self.0.is_synchronised.store(true, Ordering::Relaxed);
    }

    fn clock(&self, boot: Uuid) -> Arc<Clock> {
        Arc::new(Clock::of(Box::new(self.clone()), boot))
    }
}

impl Machine for Hands {
    fn boot_ms(&self) -> i64 {
        self.0.up_ms + i64::try_from(self.0.booted.elapsed().as_millis()).unwrap()
    }

    fn kernel_ms(&self) -> i64 {
        self.boot_ms() + self.0.kernel_offset_ms.load(Ordering::Relaxed)
    }

    fn is_synchronised(&self) -> bool {
        self.0.is_synchronised.load(Ordering::Relaxed)
    }

    fn hardware_s(&self) -> Option<i64> {
        self.0.hardware_offset_ms.map(|offset_ms| (self.boot_ms() + offset_ms) / 1000)
    }
}

/// A hub with a certificate that is valid for a month, and where its CA's lies.
struct Fleet {
    hub: FakeHub,
    ca: String,
}

impl Fleet {
    fn start() -> Self {
        let at =
            |ms: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(u64::try_from(ms).unwrap());
        let params = |name: &str| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_before = at(true_ms() - 30 * DAY_MS);
            params.not_after = at(true_ms() + 30 * DAY_MS);
            params
        };
        let mut own = params("fleet");
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(own, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params("localhost").signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            );
        Self { hub: FakeHub::start_tls(Arc::new(config.unwrap())), ca: issuer.pem() }
    }

    /// Nobody is let in.
    fn close(&self) {
        self.hub.inner().login = Some(("nobody".to_owned(), "knows".to_owned()));
    }

    fn open(&self, time_ms: i64) {
        let mut inner = self.hub.inner();
        (inner.login, inner.time_ms) = (None, Some(time_ms));
    }

    /// The hub, as the agent's configuration names it.
    fn config(&self, folder: &Path) -> Settings {
        let ca_file = folder.join("ca.pem");
        std::fs::write(&ca_file, &self.ca).unwrap();
        let tls = TlsSettings { ca_file: Some(ca_file), ..TlsSettings::default() };
        config(folder, &self.hub.url(), tls)
    }

    /// Times of the records that came, after so many of them.
    fn times(&self, count: usize) -> Vec<i64> {
        self.hub.wait("records", |inner| inner.hub.times.len() >= count);
        self.hub.inner().hub.times.clone()
    }
}

fn config(folder: &Path, hub: &str, tls: TlsSettings) -> Settings {
    Settings {
        hub: hub.to_owned(),
        data_dir: folder.to_owned(),
        linger_ms: 0,
        host_interval_ms: 100,
        tls,
        unsafe_no_fsync: true,
        ..Settings::default()
    }
}

/// An agent in this process, in one boot of its device; it reads this machine ten times a second.
struct Running {
    clock: Arc<Clock>,
    buffer: Buffer,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(hands: &Hands, boot: Uuid, file: Settings) -> Self {
        let dir = DataDir::create(&file.data_dir).unwrap();
        let clock = hands.clock(boot);
        clock.read(&dir.time());
        let own = options(dir.root(), 64 << 20, no_checker());
        let buffer = Buffer::open(&BufferOptions { clock: clock.clone(), ..own }).unwrap();
        let stop = CancellationToken::new();
        let roster = Roster::default();
        let ground = Ground { dir, device: device(), buffer: buffer.clone(), clock: clock.clone(), roster };
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || block_on(run(ground, file, stopping)));
        Self { clock, buffer, stop, thread: Some(thread) }
    }

    fn buffered(&self, count: u64) {
        until("records in the buffer", || (self.buffer.snapshot().records() >= count).then_some(()));
    }

    /// Waits until the clock is so.
    fn clock_is(&self, what: &str, is_so: impl Fn(&ClockStatus) -> bool) -> ClockStatus {
        until(what, || Some(self.clock.status()).filter(&is_so))
    }

    fn stop(mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn run(ground: Ground, file: Settings, stop: CancellationToken) {
    let (clock, buffer) = (ground.clock.clone(), ground.buffer.clone());
    let timekeeper = Timekeeper::start(clock, buffer.clone(), ground.dir.time());
    let (again, config) = (file.clone(), file.clone().validate().unwrap());
    let remote = Remote::open(&ground.dir, &file.remote, ground.clock.boot());
    let setup = Setup { file, config, load: Box::new(move || Ok(again.clone())), remote };
    let agent = Agent::start(ground, setup).await;
    let stopped = async {
        stop.cancelled().await;
        "the test"
    };
    agent
        .unwrap_or_else(|_| panic!("the agent starts"))
        .until(stopped)
        .await
        .unwrap_or_else(|_| panic!("it stops"));
    timekeeper.stop().await;
    buffer.close().await.unwrap();
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

fn boot(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn is_near(ms: i64, truth_ms: i64) -> bool {
    (ms - truth_ms).abs() <= NEAR_MS
}

fn assert_near(times: &[i64], truth_ms: i64) {
    let far = times.iter().find(|ms| !is_near(**ms, truth_ms));
    assert_eq!(far, None, "they are of {truth_ms}: {times:?}");
}

#[test]
fn a_device_at_1970_forty_days_late_or_ten_years_ahead_stamps_what_it_measures_right() {
    for kernel_ms in [5 * 60_000, true_ms() - 40 * DAY_MS, true_ms() + 10 * YEAR_MS] {
        let (folder, fleet) = (tempfile::tempdir().unwrap(), Fleet::start());
        fleet.close();
        // Its hardware clock is no better.
        let hands = Hands::showing(kernel_ms, Some(kernel_ms));
        let agent = Running::start(&hands, boot(1), fleet.config(folder.path()));
        agent.buffered(3);
        assert_eq!(agent.clock.status().source, None);
        fleet.open(true_ms());
        assert_near(&fleet.times(10), true_ms());
        assert_eq!(agent.clock_is("the hub's time", |it| it.source.is_some()).source, Some(Source::Hub));
        agent.stop();
        assert_near(&fleet.times(10), true_ms());
        assert!(fleet.hub.inner().hub.headers.is_empty(), "none is untimed");
        assert!(folder.path().join("time").exists());
    }
}

#[test]
fn a_hub_that_is_wrong_once_locks_no_device_out() {
    let (folder, fleet) = (tempfile::tempdir().unwrap(), Fleet::start());
    // Ten years on, its own certificate will have expired.
    fleet.open(true_ms() + 10 * YEAR_MS);
    let hands = Hands::showing(0, None);
    let agent = Running::start(&hands, boot(1), fleet.config(folder.path()));
    let wrong = fleet.times(3);
    assert_near(&wrong, true_ms() + 10 * YEAR_MS);
    // The same boot: the connection after the lie.
    fleet.open(true_ms());
    fleet.hub.cut();
    agent.clock_is("the right time", |it| it.now_ms.is_some_and(|ms| (ms - true_ms()).abs() < NEAR_MS));
    // What was stamped before that may still come; what was measured after it comes after that.
    fleet.hub.wait("records of the right time", |inner| {
        inner.hub.times.last_chunk::<5>().is_some_and(|last| last.iter().all(|ms| is_near(*ms, true_ms())))
    });
    agent.stop();

    // The next one, again without a clock.
    let again = Running::start(&Hands::showing(0, None), boot(2), fleet.config(folder.path()));
    let last_known_ms = again.clock.last_known_ms();
    assert!(last_known_ms < true_ms() + 2 * DAY_MS, "{last_known_ms}");
    let before = fleet.hub.inner().connections;
    fleet.hub.wait("a connection", |inner| inner.connections > before);
    again.clock_is("the hub's time", |it| it.source == Some(Source::Hub));
}

#[test]
fn what_was_measured_before_the_time_was_known_is_stamped_after_a_reboot_without_a_hub_in_between() {
    let (folder, fleet) = (tempfile::tempdir().unwrap(), Fleet::start());
    let hands = Hands::showing(0, None);
    let first = Running::start(&hands, boot(1), config(folder.path(), NO_HUB, TlsSettings::default()));
    first.buffered(3);
    assert_eq!(first.clock.status().source, None);
    hands.synchronise();
    // Durable at once: the next thing may be a power cut.
    let age_ms = first.buffer.reader().oldest_age_ms(&first.clock).unwrap().unwrap();
    assert!((0..NEAR_MS).contains(&age_ms), "the clock that was set made it no older: {age_ms}");
    until("the boot's clock", || {
        first.buffer.snapshot().boots.iter().any(|it| it.boot == boot(1)).then_some(())
    });
    let measured_ms = true_ms();
    first.stop();

    fleet.open(measured_ms + 9 * DAY_MS);
    let again = Running::start(&Hands::showing(0, None), boot(2), fleet.config(folder.path()));
    let times = fleet.times(3);
    assert_near(&times[..3], measured_ms);
    assert!(fleet.hub.inner().hub.headers.is_empty(), "none is untimed");
    again.stop();
}

#[test]
fn what_no_boot_knew_the_time_of_is_marked_with_its_boot() {
    let (folder, fleet) = (tempfile::tempdir().unwrap(), Fleet::start());
    let hands = Hands::showing(true_ms() - 40 * DAY_MS, None);
    let first = Running::start(&hands, boot(1), config(folder.path(), NO_HUB, TlsSettings::default()));
    first.buffered(3);
    first.stop();
    fleet.open(true_ms());
    let again = Running::start(&Hands::showing(0, None), boot(2), fleet.config(folder.path()));
    let times = fleet.times(3);
    assert_near(&times, true_ms());
    let headers = fleet.hub.inner().hub.headers.clone();
    let begins = format!("1 {} ", boot(1));
    assert!(headers.len() >= 3, "{headers:?}");
    assert!(
        headers.iter().all(|(name, value)| name == "untimed" && value.starts_with(&begins)),
        "{headers:?}"
    );
    again.stop();
}

#[test]
fn what_is_measured_after_a_jump_is_stamped_as_before_unless_the_kernel_is_synchronised() {
    let (folder, fleet) = (tempfile::tempdir().unwrap(), Fleet::start());
    fleet.open(true_ms());
    let hands = Hands::showing(0, None);
    let agent = Running::start(&hands, boot(1), fleet.config(folder.path()));
    assert_near(&fleet.times(3), true_ms());
    hands.0.kernel_offset_ms.store(true_ms() + 10 * YEAR_MS, Ordering::Relaxed);
    let jumped = agent.clock_is("a jump", |it| it.jumps == 1);
    assert!(!jumped.last_jump.unwrap().is_followed);
    let after = fleet.hub.inner().hub.times.len();
    assert_near(&fleet.times(after + 5), true_ms());
    // The truth has moved on by a day: the hub's clock is wrong now, and the kernel's goes before it.
    hands.0.kernel_offset_ms.store(true_ms() + DAY_MS - hands.boot_ms(), Ordering::Relaxed);
    hands.0.is_synchronised.store(true, Ordering::Relaxed);
    let followed = agent.clock_is("the kernel's time", |it| it.source == Some(Source::Kernel));
    assert!(followed.last_jump.unwrap().is_followed);
    assert!((followed.hub_differs_ms.unwrap() + DAY_MS).abs() < NEAR_MS, "{followed:?}");
    let after = fleet.hub.inner().hub.times.len();
    let times = fleet.times(after + 5);
    assert_near(&times[after + 3..], true_ms() + DAY_MS);
    agent.stop();
}

/// A timekeeper until its clock is so; answers that, and this boot's offset if it is durable.
fn keep(folder: &Path, hands: &Hands, is_over: impl Fn(&ClockStatus) -> bool) -> (ClockStatus, Option<i64>) {
    block_on(async {
        let clock = hands.clock(boot(1));
        let buffer = open(folder, 64 << 20, no_checker());
        let keeper = Timekeeper::start(clock.clone(), buffer.clone(), folder.join("time"));
        let over = async {
            while !is_over(&clock.status()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), over).await.unwrap();
        keeper.stop().await;
        let boots = buffer.snapshot().boots.clone();
        let durable = boots.into_iter().find(|it| it.boot == boot(1)).map(|it| it.offset_ms);
        (clock.status(), durable)
    })
}

#[test]
fn a_hardware_clock_that_ran_on_tells_the_time_without_a_hub() {
    let folder = tempfile::tempdir().unwrap();
    // It is later than this program's build.
    let now_ms = true_ms() + 40 * DAY_MS;
    let hands = Hands::showing(0, Some(now_ms));
    let booted_ms = now_ms - hands.boot_ms();
    let (clock, durable) = keep(folder.path(), &hands, |it| it.source.is_some());
    assert_eq!(clock.source, Some(Source::HardwareClock));
    let offset_ms = durable.unwrap();
    assert!((offset_ms - booted_ms).abs() <= 1500, "{offset_ms}, meant was {booted_ms}");
    assert_eq!(clock.hardware_clock, None);
    assert!(folder.path().join("time").exists());
}

#[test]
fn what_waits_is_stamped_by_the_hubs_time_and_not_by_a_hardware_clock_that_was_wrong_before() {
    let (folder, fleet) = (tempfile::tempdir().unwrap(), Fleet::start());
    fleet.close();
    let hands = Hands::showing(0, Some(true_ms() + 40 * DAY_MS));
    let agent = Running::start(&hands, boot(1), fleet.config(folder.path()));
    agent.buffered(3);
    assert_eq!(agent.clock.status().source, None);
    agent.clock_is("the hardware clock's time", |it| it.source == Some(Source::HardwareClock));
    let known = until("its being durable", || agent.buffer.snapshot().boots.first().copied());
    assert!(known.is_provisional);
    fleet.open(true_ms());
    assert_near(&fleet.times(3)[..3], true_ms());
    agent.stop();
}

#[test]
fn a_hardware_clock_that_cannot_be_right_is_refused_and_status_says_why() {
    // Without a battery they begin here.
    let year_2000_ms = 30 * YEAR_MS + 7 * DAY_MS;
    for (hardware_ms, why) in [
        (0, "behind"),
        (year_2000_ms, "behind"),
        (true_ms() - 40 * DAY_MS, "behind"),
        (true_ms() + 10 * YEAR_MS, "ahead"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let hands = Hands::showing(hardware_ms, Some(hardware_ms));
        let (clock, durable) = keep(folder.path(), &hands, |it| it.hardware_clock.is_some());
        assert_eq!((clock.source, durable), (None, None), "{hardware_ms}");
        assert!(clock.hardware_clock.is_some_and(|it| it.contains(why)), "{hardware_ms}");
        assert!(!folder.path().join("time").exists(), "written only from what is known");
    }
}
