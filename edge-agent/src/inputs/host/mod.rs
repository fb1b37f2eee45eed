//! The machine that the agent runs on: load, memory, network, disks, temperatures, what hwmon knows, and iio
//! devices.
//!
//! Each part reads what is there and leaves out what is not; nothing here can fail. Counters are given as the
//! kernel counts them, from the boot on.

mod disk;
mod hwmon;
mod iio;
mod load;
mod memory;
mod network;
mod thermal;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemas::{Measurement, Value};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::row::Row;
use super::sink::RowSink;
use super::{Input, Running};
use crate::config::HostConfig;

/// Reads this machine at an interval.
pub struct HostInput {
    host: Host,
    interval: Duration,
}

impl HostInput {
    pub fn new(config: &HostConfig) -> Self {
        Self { host: Host::default(), interval: config.interval }
    }
}

impl HostInput {
    /// Until nobody takes the rows any more.
    async fn read(&mut self, rows: &RowSink) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(row) = self.host.read()
                && rows.send(row).await.is_err()
            {
                return;
            }
        }
    }
}

impl Input for HostInput {
    fn run(mut self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.read(&rows) => {}
            }
            Ok(())
        })
    }
}

/// Reads one machine, below a root that is `/` outside tests.
pub struct Host {
    root: PathBuf,
    processor: load::Processor,
}

impl Default for Host {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Host {
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), processor: load::Processor::default() }
    }

    /// One row, measured now; `None` where the machine tells nothing.
    pub fn read(&mut self) -> Option<Row> {
        let mut found = Found { root: &self.root, measurements: Vec::with_capacity(32) };
        load::read(&mut found);
        self.processor.read(&mut found);
        memory::read(&mut found);
        network::read(&mut found);
        disk::read(&mut found);
        thermal::read(&mut found);
        hwmon::read(&mut found);
        iio::read(&mut found);
        let measurements = found.measurements;
        (!measurements.is_empty()).then(|| Row::now(measurements))
    }
}

/// What was found so far, and where to look.
struct Found<'a> {
    root: &'a Path,
    measurements: Vec<Measurement>,
}

impl Found<'_> {
    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// The names in a directory, sorted so that rows look alike.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    fn add(&mut self, name: impl Into<String>, unit: Option<&str>, value: f64) {
        if value.is_finite() {
            let unit = unit.map(str::to_owned);
            self.measurements.push(Measurement { name: name.into(), unit, value: Value::Float(value) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn measured(files: &[(&str, &str)]) -> Vec<(String, f64)> {
        let root = machine(files);
        let row = Host::below(root.path()).read();
        let measurements = row.map(|row| row.measurements).unwrap_or_default();
        let number = |value| if let Value::Float(number) = value { number } else { f64::NAN };
        measurements.into_iter().map(|m| (m.name, number(m.value))).collect()
    }

    fn named(found: &[(String, f64)], name: &str) -> Option<f64> {
        found.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    #[test]
    fn load_and_memory_are_read() {
        let found = measured(&[
            ("proc/loadavg", "0.50 0.25 0.10 1/200 999\n"),
            ("proc/meminfo", "MemTotal:       2000 kB\nMemFree:  100 kB\nMemAvailable:    500 kB\n"),
        ]);
        assert_eq!(named(&found, "load.1m"), Some(0.5));
        assert_eq!(named(&found, "memory.total"), Some(2_048_000.0));
        assert_eq!(named(&found, "memory.used"), Some(75.0));
    }

    #[test]
    fn the_processors_share_is_of_the_time_since_the_last_reading() {
        let root = machine(&[("proc/stat", "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n")]);
        let mut host = Host::below(root.path());
        assert!(host.read().is_none(), "there is nothing to compare with yet");
        fs::write(root.path().join("proc/stat"), "cpu  150 0 100 950 0 0 0 0 0 0\n").unwrap();
        let row = host.read().unwrap();
        assert_eq!(row.measurements[0].name, "cpu.busy");
        assert_eq!(row.measurements[0].value, Value::Float(25.0));
    }

    #[test]
    fn network_and_disk_counters_are_bytes() {
        let network =
            "h\nh\n    lo: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n  eth0:7000 5 1 0 0 0 0 0 800 4 2 0 0 0 0 0\n";
        let disks = " 254 0 vda 10 0 100 5 20 0 200 7 0 1 2\n 254 1 vda1 1 0 1 1 1 0 1 1 0 1 1\n 7 0 loop0 1 0 1 1 1 0 1 1 0 1 1\n";
        let found = measured(&[
            ("proc/net/dev", network),
            ("proc/diskstats", disks),
            ("sys/block/vda/x", ""),
            ("sys/block/loop0/x", ""),
        ]);
        assert_eq!(named(&found, "network.eth0.received"), Some(7000.0));
        assert_eq!(named(&found, "network.eth0.sent"), Some(800.0));
        assert_eq!(named(&found, "network.lo.received"), None);
        assert_eq!(named(&found, "disk.vda.read"), Some(51_200.0));
        assert_eq!(named(&found, "disk.vda.written"), Some(102_400.0));
        assert_eq!(named(&found, "disk.vda1.read"), None);
        assert_eq!(named(&found, "disk.loop0.read"), None);
    }

    #[test]
    fn temperatures_and_sensors_are_read_where_there_are_any() {
        let found = measured(&[
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
            ("sys/class/hwmon/hwmon0/name", "nct6775\n"),
            ("sys/class/hwmon/hwmon0/fan1_input", "1200\n"),
            ("sys/class/hwmon/hwmon0/in0_input", "1024\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "41000\n"),
            ("sys/class/hwmon/hwmon0/temp1_label", "Core 0\n"),
        ]);
        assert_eq!(named(&found, "thermal.cpu-thermal.0"), Some(48.312));
        assert_eq!(named(&found, "hwmon.nct6775.0.fan1"), Some(1200.0));
        assert_eq!(named(&found, "hwmon.nct6775.0.in0"), Some(1.024));
        assert_eq!(named(&found, "hwmon.nct6775.0.Core-0"), Some(41.0));
    }

    #[test]
    fn iio_devices_are_read_in_senml_units() {
        let device = |number: u32, file: &str| format!("sys/bus/iio/devices/iio:device{number}/{file}");
        let files = [
            (device(0, "name"), "ads1015\n"),
            (device(0, "in_voltage0_raw"), "1000\n"),
            (device(0, "in_voltage0_scale"), "3\n"),
            (device(0, "in_voltage1_raw"), "500\n"),
            (device(0, "in_voltage_scale"), "2\n"),
            (device(0, "in_voltage2-voltage3_raw"), "-100\n"),
            (device(1, "name"), "bme280\n"),
            (device(1, "in_temp_input"), "21510\n"),
            (device(1, "in_temp_raw"), "7\n"),
            (device(1, "in_pressure_input"), "101.325\n"),
            (device(1, "in_humidityrelative_input"), "45500\n"),
            (device(2, "in_accel_x_raw"), "100\n"),
            (device(2, "in_accel_x_offset"), "20\n"),
            (device(2, "in_accel_scale"), "0.5\n"),
            (device(2, "in_accel_y_raw"), "broken\n"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let root = machine(&files);
        let row = Host::below(root.path()).read().unwrap();
        let found: Vec<_> =
            row.measurements.iter().map(|m| (m.name.as_str(), m.unit.as_deref(), m.value.clone())).collect();
        let is = |name, unit, value: f64| (name, Some(unit), Value::Float(value));
        assert_eq!(
            found,
            [
                is("iio.ads1015.0.voltage0", "V", 3.0),
                is("iio.ads1015.0.voltage1", "V", 1.0),
                is("iio.ads1015.0.voltage2-voltage3", "V", -0.2),
                is("iio.bme280.1.humidityrelative", "%RH", 45.5),
                is("iio.bme280.1.pressure", "Pa", 101_325.0),
                is("iio.bme280.1.temp", "Cel", 21.51),
                is("iio.device.2.accel_x", "m/s2", 60.0),
            ]
        );
    }

    #[test]
    fn a_machine_that_tells_nothing_gives_no_row() {
        assert!(measured(&[]).is_empty());
    }

    #[test]
    fn this_machine_tells_something() {
        assert!(Host::default().read().is_some());
    }
}
