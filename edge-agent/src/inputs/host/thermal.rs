//! Thermal zones, in degrees Celsius (the kernel gives thousandths).

use super::Found;

pub fn read(found: &mut Found<'_>) {
    for zone in found.names("sys/class/thermal") {
        let Some(number) = zone.strip_prefix("thermal_zone") else { continue };
        let folder = format!("sys/class/thermal/{zone}");
        let Some(temperature) = found.text(&format!("{folder}/temp")) else { continue };
        let kind = found.text(&format!("{folder}/type")).unwrap_or_default();
        let kind = if kind.trim().is_empty() { "zone" } else { kind.trim() };
        if let Ok(milli) = temperature.trim().parse::<f64>() {
            found.add(format!("thermal.{kind}.{number}"), Some("Cel"), milli / 1000.0);
        }
    }
}
