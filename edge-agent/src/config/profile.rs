//! Profiles: what a kind of link makes of keep-alive, lingering, status and reconnects.
//!
//! The README has the same table; a test compares them.

use std::time::Duration;

use serde::Deserialize;

/// `auto` is `lan` where every hub is on this machine, else `wan`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    #[default]
    Auto,
    Lan,
    Wan,
    Cellular,
    Metered,
}

/// What a profile stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub keep_alive: Duration,
    /// From measuring to sending; `None` is the time for which a batch is filled.
    pub ship_linger: Option<Duration>,
    pub status_interval: Duration,
    pub bytes_per_month_max: Option<u64>,
    /// Waits between connections double from the first to the longest.
    pub reconnect_first: Duration,
    pub reconnect_longest: Duration,
    /// The longest where nobody listens on the hub's machine: it may be back any moment.
    pub reconnect_refused_longest: Duration,
    /// A wait is longer by up to so much, so that agents that lost one hub do not come back together.
    pub reconnect_spread: Duration,
}

const LAN: Link = Link {
    keep_alive: Duration::from_secs(15),
    ship_linger: None,
    status_interval: Duration::from_secs(60),
    bytes_per_month_max: None,
    reconnect_first: Duration::from_millis(250),
    reconnect_longest: Duration::from_secs(5),
    reconnect_refused_longest: Duration::from_secs(5),
    reconnect_spread: Duration::from_secs(2),
};

const WAN: Link = Link { reconnect_longest: Duration::from_secs(30), ..LAN };

const CELLULAR: Link = Link {
    keep_alive: Duration::from_secs(120),
    ship_linger: Some(Duration::from_secs(60)),
    status_interval: Duration::from_secs(300),
    reconnect_first: Duration::from_secs(1),
    reconnect_longest: Duration::from_secs(120),
    reconnect_refused_longest: Duration::from_secs(30),
    reconnect_spread: Duration::from_secs(5),
    ..WAN
};

const METERED: Link = Link {
    keep_alive: Duration::from_secs(900),
    ship_linger: Some(Duration::from_secs(300)),
    status_interval: Duration::from_secs(3600),
    bytes_per_month_max: Some(100_000_000),
    reconnect_first: Duration::from_secs(5),
    reconnect_longest: Duration::from_secs(900),
    reconnect_refused_longest: Duration::from_secs(300),
    reconnect_spread: Duration::from_secs(15),
};

impl Profile {
    /// `is_local`: every hub is on this machine.
    pub fn link(self, is_local: bool) -> Link {
        match self {
            Self::Auto if is_local => LAN,
            Self::Lan => LAN,
            Self::Auto | Self::Wan => WAN,
            Self::Cellular => CELLULAR,
            Self::Metered => METERED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_what_the_hubs_addresses_say() {
        assert_eq!((Profile::Auto.link(true), Profile::Auto.link(false)), (LAN, WAN));
        assert_eq!(Profile::Metered.link(true), METERED);
    }

    #[test]
    fn the_readme_has_the_same_table() {
        let columns = [("lan", LAN), ("wan", WAN), ("cellular", CELLULAR), ("metered", METERED)];
        let row = |name: &str, cell: &dyn Fn(&Link) -> String| {
            let cells: Vec<String> = columns.iter().map(|(_, link)| cell(link)).collect();
            format!("| {name} | {} |", cells.join(" | "))
        };
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let rows = [
            format!("| | {} |", names.join(" | ")),
            row("keep-alive", &|link| text(link.keep_alive)),
            row("from measuring to sending (`ship_linger_ms`)", &|link| {
                link.ship_linger.map_or("`linger_ms`".to_owned(), text)
            }),
            row("status (`status_interval_s`)", &|link| text(link.status_interval)),
            row("bytes a month (`bytes_per_month_max`)", &|link| {
                link.bytes_per_month_max.map_or("any".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000))
            }),
            row("waits between connections", &|link| {
                format!("{} to {}", text(link.reconnect_first), text(link.reconnect_longest))
            }),
            row("those of a fleet that lost a hub are spread over, at least", &|link| {
                text(link.reconnect_spread)
            }),
        ];
        let readme = include_str!("../../../README.md");
        for row in rows {
            assert!(readme.contains(&row), "the README lacks\n{row}");
        }
    }

    fn text(duration: Duration) -> String {
        match (duration.as_secs(), duration.subsec_millis()) {
            (seconds, 0) if seconds >= 120 && seconds % 60 == 0 => format!("{} min", seconds / 60),
            (seconds, 0) => format!("{seconds} s"),
            _ => format!("{} s", duration.as_secs_f64()),
        }
    }
}
