//! Sensors of the kernel's industrial I/O (Documentation/ABI/testing/sysfs-bus-iio): converters, light, humidity,
//! motion. A value is (raw + offset) × scale, in the kernel's unit.

use super::Found;

/// The channel's type, the unit, and how many of the kernel's units make one of it. What SenML has no name for has
/// no unit here.
const KINDS: [(&str, Option<&str>, f64); 19] = [
    ("accel", Some("m/s2"), 1.0),
    ("anglvel", None, 1.0),
    ("capacitance", Some("F"), 1e9),
    ("concentration", Some("%"), 1.0),
    ("current", Some("A"), 1000.0),
    ("distance", Some("m"), 1.0),
    ("electricalconductivity", Some("S/m"), 1.0),
    ("energy", Some("J"), 1.0),
    ("humidityrelative", Some("%RH"), 1000.0),
    ("illuminance", Some("lx"), 1.0),
    ("incli", None, 1.0),
    ("magn", Some("T"), 1e4),
    ("ph", Some("pH"), 1.0),
    ("power", Some("W"), 1000.0),
    ("pressure", Some("Pa"), 1e-3),
    ("proximity", None, 1.0),
    ("resistance", Some("Ohm"), 1.0),
    ("temp", Some("Cel"), 1000.0),
    ("voltage", Some("V"), 1000.0),
];

pub fn read(found: &mut Found<'_>) {
    for device in found.names("sys/bus/iio/devices") {
        let Some(number) = device.strip_prefix("iio:device") else { continue };
        let folder = format!("sys/bus/iio/devices/{device}");
        let name = found.text(&format!("{folder}/name")).unwrap_or_default();
        let name = if name.trim().is_empty() { "device" } else { name.trim() };
        let files = found.names(&folder);
        for file in &files {
            let Some(channel) = channel(file, &files) else { continue };
            let kind = kind(channel);
            let (unit, per_unit) = KINDS
                .into_iter()
                .find(|(known, ..)| *known == kind)
                .map_or((None, 1.0), |(_, unit, per_unit)| (unit, per_unit));
            if let Some(value) = value(found, &folder, file, channel) {
                found.add(
                    format!("iio.{name}.{number}.{}", channel.trim_start_matches("in_")),
                    unit,
                    value / per_unit,
                );
            }
        }
    }
}

/// The channel that a file has the value of: `in_temp_input` is converted, `in_voltage0_raw` is not and counts where
/// the other is not there.
fn channel<'a>(file: &'a str, files: &[String]) -> Option<&'a str> {
    if !file.starts_with("in_") {
        return None;
    }
    if let Some(channel) = file.strip_suffix("_input") {
        return Some(channel);
    }
    let channel = file.strip_suffix("_raw")?;
    (!files.contains(&format!("{channel}_input"))).then_some(channel)
}

fn value(found: &Found<'_>, folder: &str, file: &str, channel: &str) -> Option<f64> {
    let number = |name: String| found.text(&format!("{folder}/{name}"))?.trim().parse::<f64>().ok();
    let value = number(file.to_owned())?;
    if file.ends_with("_input") {
        return Some(value);
    }
    let of = |what: &str| shared_by(channel).find_map(|name| number(format!("{name}_{what}")));
    Some((value + of("offset").unwrap_or(0.0)) * of("scale").unwrap_or(1.0))
}

/// Under which names a channel's scale may stand: its own, and those that it shares with others of its type:
/// `in_voltage0` and `in_voltage`, `in_accel_x` and `in_accel`, `in_voltage2-voltage3` and `in_voltage-voltage`.
fn shared_by(channel: &str) -> impl Iterator<Item = String> {
    let unnumbered: String = channel.chars().filter(|c| !c.is_ascii_digit()).collect();
    [channel.to_owned(), unnumbered, format!("in_{}", kind(channel))].into_iter()
}

/// The channel's type, as `voltage` of `in_voltage2-voltage3`.
fn kind(channel: &str) -> &str {
    let name = channel.trim_start_matches("in_");
    name.split(['_', '-']).next().unwrap_or(name).trim_end_matches(|c: char| c.is_ascii_digit())
}
