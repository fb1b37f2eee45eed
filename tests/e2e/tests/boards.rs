//! The agent on whole boards, in qemu, with a hub that is out of their reach at first: whatever their clocks show, what
//! they measured is in the log with the right time, and a power cut loses nothing of it.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::board::{Board, Device, HUB_ADDRESS, HUB_PORT, Image, now_s};
use e2e::counted::{self, Counted, Seen, read};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use testkit::{Hub, ports, tools, wait};

const WITHIN: Duration = Duration::from_secs(300);
const DAY_S: i64 = 86_400;
const YEAR_S: i64 = 31_556_952;
/// Between measuring a number and seeing it on the console of a board that this machine computes.
const SEEN_WITHIN_MS: i64 = 5_000;
/// A clock is set at once; then the board goes on booting.
const BOOT_S: i64 = 120;
/// From reading a line to having it on the disk: the linger, and what a slow board takes.
const DURABLE_AFTER: Duration = Duration::from_secs(5);

/// A root, the hub's certificate, good since 2020 and for two more years, and the device's.
fn write_certificates(folder: &Path, device: &str) {
    let year = i32::try_from(1970 + now_s() / YEAR_S).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), root.pem()).unwrap();
    for (file, name, hosts) in [("hub", "hub", vec![HUB_ADDRESS.to_owned()]), ("device", device, Vec::new())]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year + 2, 1, 1);
        let certificate = params.signed_by(&key, &root).unwrap();
        fs::write(folder.join(format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// A hub, not yet started, that a device reaches by TLS on the second address.
fn secured_hub(folder: &Path, files: &Path) -> (Hub, u16) {
    let address = ports::free();
    let file = |name: &str| files.join(name).to_str().unwrap().to_owned();
    let hub = Hub::new(folder)
        .with_variable("HEADWATER_MQTTS_LISTEN", &address.to_string())
        .with_variable("HEADWATER_TLS_CERT_FILE", &file("hub.pem"))
        .with_variable("HEADWATER_TLS_KEY_FILE", &file("hub.key"))
        .with_variable("HEADWATER_MQTT_CLIENT_CA_FILE", &file("ca.pem"));
    (hub, address.port())
}

/// Waits until a boot's numbers are in the log up to this one; answers all of that boot.
fn stored(kcat: &Path, hub: &Hub, device: &str, boot: u32, number: u32) -> Vec<Counted> {
    wait::until(&format!("number {number} of boot {boot} to be in the log"), WITHIN, || {
        wait::pause(Duration::from_secs(1));
        let found = read(&kcat.to_owned(), &hub.brokers(), device);
        let of_boot: Vec<_> = found.into_iter().filter(|record| record.boot == boot).collect();
        of_boot.iter().any(|record| record.number >= number).then_some(of_boot)
    })
}

/// Each number from 1 on once, in order, without a hole.
fn assert_counted(records: &[Counted], what: &str) {
    for (record, expected) in records.iter().zip(1..) {
        assert_eq!(record.number, expected, "{what}");
    }
}

/// Each at the time at which this machine saw it; answers by how much the worst differs, in ms.
fn assert_timed(records: &[Counted], seen: &Seen, what: &str) -> i64 {
    let mut worst = 0;
    for record in records {
        let Some(seen_s) = seen.0.get(&record.number) else { continue };
        let difference = (record.timestamp_ms - seen_s * 1000).abs();
        assert!(difference < SEEN_WITHIN_MS, "{what}: number {} is {difference} ms off", record.number);
        worst = worst.max(difference);
    }
    let disorder = records.windows(2).find(|pair| pair[0].timestamp_ms > pair[1].timestamp_ms);
    assert!(disorder.is_none(), "{what}: {disorder:?}");
    worst
}

#[test]
#[ignore = "takes deploy/cross and qemu: .ci/cross runs it"]
fn a_board_without_a_clock_ships_the_right_times() {
    let test = "a Raspberry Pi boots in 1970";
    let folder = tempfile::tempdir().unwrap();
    let Some(kcat) = tools::find("kcat", test) else { return };
    let Some(image) = Image::make(Board::Raspi3b, folder.path(), test) else { return };
    let clocks = [
        ("in 1970", None),
        ("40 days ago", Some(now_s() - 40 * DAY_S)),
        ("in 10 years", Some(now_s() + 10 * YEAR_S)),
    ];
    for (when, clock) in clocks {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("files");
        fs::create_dir(&files).unwrap();
        write_certificates(&files, "pi");
        let settings = format!(
            "hub = \"mqtts://{HUB_ADDRESS}:{HUB_PORT}\"\n[tls]\nca_file = \"/data/ca.pem\"\n\
             cert_file = \"/data/device.pem\"\nkey_file = \"/data/device.key\"\n"
        );
        counted::write_files(&files, "pi", &settings).unwrap();
        let (mut hub, port) = secured_hub(folder.path(), &files);
        let mut device = Device::new(&image, folder.path(), &files, port);
        let shown = device.boot(clock);
        let off = shown - clock.unwrap_or_default();
        assert!((0..BOOT_S).contains(&off), "the clock shows {shown} {when}");

        let mut seen = Seen::default();
        seen.until(&device, 50, WITHIN);
        hub.start();
        seen.until(&device, seen.last() + 50, WITHIN);
        let records = stored(&kcat, &hub, "pi", 1, seen.last());
        assert_counted(&records, when);
        let worst = assert_timed(&records, &seen, when);
        println!(
            "a clock {when}: {} records, {} of them compared, {worst} ms off at most",
            records.len(),
            seen.0.len()
        );
        device.cut_power();
    }
}

#[test]
#[ignore = "takes deploy/cross and qemu: .ci/cross runs it"]
fn a_board_of_32_bits_loses_nothing_with_its_power() {
    let test = "an armhf board loses its power";
    let folder = tempfile::tempdir().unwrap();
    let Some(kcat) = tools::find("kcat", test) else { return };
    let Some(image) = Image::make(Board::VirtArmhf, folder.path(), test) else { return };
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    let settings = format!("hub = \"mqtt://{HUB_ADDRESS}:{HUB_PORT}\"\ntrust_hub_time = true\n");
    counted::write_files(&files, "meter", &settings).unwrap();
    let mut hub = Hub::started(folder.path());
    let mut device = Device::new(&image, folder.path(), &files, hub.mqtt.port());
    device.boot(None);
    let mut seen = Seen::default();
    seen.until(&device, 30, WITHIN);
    stored(&kcat, &hub, "meter", 1, 30);
    // What comes now is in the buffer alone when the power goes.
    hub.kill();
    seen.until(&device, seen.last() + 50, WITHIN);
    let durable = seen.last();
    wait::pause(DURABLE_AFTER);
    device.cut_power();

    hub.start();
    device.boot(None);
    let mut seen_again = Seen::default();
    seen_again.until(&device, 30, WITHIN);
    let before = stored(&kcat, &hub, "meter", 1, durable);
    let after = stored(&kcat, &hub, "meter", 2, 30);
    assert_counted(&before, "before the cut");
    assert_counted(&after, "after the cut");
    let worst =
        assert_timed(&before, &seen, "before the cut").max(assert_timed(&after, &seen_again, "after"));
    println!(
        "{durable} had to be there, {} are; {} after the cut; {worst} ms off at most",
        before.len(),
        after.len()
    );
    device.cut_power();
}
