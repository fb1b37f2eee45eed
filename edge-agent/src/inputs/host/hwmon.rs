//! What hwmon knows: temperatures, fans, voltages, currents and power (Documentation/hwmon/sysfs-interface).

use super::Found;

/// Prefix of the file's name, unit, and how many of the kernel's units make one of it.
const KINDS: [(&str, &str, f64); 5] = [
    ("temp", "Cel", 1000.0),
    ("fan", "1/min", 1.0),
    ("in", "V", 1000.0),
    ("curr", "A", 1000.0),
    ("power", "W", 1_000_000.0),
];

pub fn read(found: &mut Found<'_>) {
    for chip in found.names("sys/class/hwmon") {
        let folder = format!("sys/class/hwmon/{chip}");
        let number = chip.trim_start_matches("hwmon").to_owned();
        let name = found.text(&format!("{folder}/name")).unwrap_or_default().trim().to_owned();
        for file in found.names(&folder) {
            let Some(sensor) = file.strip_suffix("_input") else { continue };
            let letters = sensor.trim_end_matches(|c: char| c.is_ascii_digit());
            let Some((_, unit, scale)) = KINDS.into_iter().find(|(kind, _, _)| *kind == letters) else {
                continue;
            };
            let Some(value) =
                found.text(&format!("{folder}/{file}")).and_then(|text| text.trim().parse::<f64>().ok())
            else {
                continue;
            };
            let label = found.text(&format!("{folder}/{sensor}_label")).unwrap_or_default();
            let label = label.trim().replace(' ', "-");
            let shown = if label.is_empty() { sensor } else { &label };
            found.add(format!("hwmon.{name}.{number}.{shown}"), Some(unit), value / scale);
        }
    }
}
