//! `/proc/net/dev`: bytes through each interface but the loopback.

use super::Found;

pub fn read(found: &mut Found<'_>) {
    let Some(text) = found.text("proc/net/dev") else { return };
    for line in text.lines().skip(2) {
        let Some((interface, counters)) = line.split_once(':') else { continue };
        let interface = interface.trim();
        let counters: Vec<f64> = counters.split_whitespace().map_while(|field| field.parse().ok()).collect();
        // Eight counters of what was received, then eight of what was sent; each begins with bytes (proc(5)).
        if let (Some(received), Some(sent), true) = (counters.first(), counters.get(8), interface != "lo") {
            found.add(format!("network.{interface}.received"), Some("B"), *received);
            found.add(format!("network.{interface}.sent"), Some("B"), *sent);
        }
    }
}
