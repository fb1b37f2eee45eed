//! What MQTT calls a UTF-8 string, a topic name and a topic filter (MQTT 5, 1.5.4 and 4.7).

use super::WireError;
use crate::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// Well-formed UTF-8 without U+0000.
pub fn utf8(bytes: &[u8]) -> Result<&str, WireError> {
    let text = std::str::from_utf8(bytes).map_err(|_| WireError::Malformed("a string that is not UTF-8"))?;
    if bytes.contains(&0) { Err(WireError::Malformed("a string with U+0000")) } else { Ok(text) }
}

/// A name that can be published to: not empty, no wildcards, not longer or deeper than this hub takes.
pub fn topic_name(bytes: &[u8]) -> Result<&str, WireError> {
    let name = utf8(bytes)?;
    let mut separators = 0;
    for byte in bytes {
        match byte {
            b'+' | b'#' => return Err(WireError::TopicName("it holds a wildcard")),
            b'/' => separators += 1,
            _ => {}
        }
    }
    if bytes.is_empty() {
        Err(WireError::TopicName("it is empty"))
    } else if bytes.len() > TOPIC_BYTES_MAX || separators >= TOPIC_LEVELS_MAX {
        Err(WireError::TopicName("it is too long or too deep"))
    } else {
        Ok(name)
    }
}

/// Why a filter cannot be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("not a topic filter")]
    Invalid,
    #[error("a topic filter that is too long or too deep")]
    TooLong,
    #[error("shared subscriptions are not served")]
    Shared,
}

/// Checks a filter: `#` only as the whole last level, `+` only as a whole level.
pub fn filter(text: &str) -> Result<(), FilterError> {
    if text.is_empty() || text.bytes().any(|byte| byte == 0) {
        return Err(FilterError::Invalid);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(FilterError::TooLong);
    }
    let mut levels = text.split('/').peekable();
    let mut depth = 0;
    while let Some(level) = levels.next() {
        depth += 1;
        let whole = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            level => !level.contains(['#', '+']),
        };
        if !whole {
            return Err(FilterError::Invalid);
        }
    }
    if depth > TOPIC_LEVELS_MAX {
        return Err(FilterError::TooLong);
    }
    if text.split('/').next() == Some("$share") { Err(FilterError::Shared) } else { Ok(()) }
}

/// Whether a valid filter matches a valid topic name. Wildcards in front do not see `$` topics (4.7.2).
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_have_rules() {
        for good in ["a", "/", "a//b", "$SYS/x", "größe/temperatur", "日本"] {
            assert_eq!(topic_name(good.as_bytes()), Ok(good));
        }
        for bad in ["", "a/+", "#", "a#"] {
            assert!(matches!(topic_name(bad.as_bytes()), Err(WireError::TopicName(_))), "{bad}");
        }
        for bad in [&b"a\0b"[..], b"\xff", b"\xed\xa0\x80"] {
            assert!(matches!(topic_name(bad), Err(WireError::Malformed(_))), "{bad:?}");
        }
        let deep = "/".repeat(TOPIC_LEVELS_MAX);
        assert!(matches!(topic_name(deep.as_bytes()), Err(WireError::TopicName(_))));
        assert!(topic_name(&deep.as_bytes()[1..]).is_ok());
    }

    #[test]
    fn filters_have_rules() {
        for good in ["#", "+", "a/+/c", "a/#", "/", "+/+", "$SYS/#", "a//b"] {
            assert_eq!(filter(good), Ok(()), "{good}");
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+", "##", "++"] {
            assert_eq!(filter(bad), Err(FilterError::Invalid), "{bad}");
        }
        assert_eq!(filter("$share/group/a"), Err(FilterError::Shared));
        assert_eq!(filter(&"/".repeat(TOPIC_LEVELS_MAX)), Err(FilterError::TooLong));
        assert_eq!(filter(&"a".repeat(TOPIC_BYTES_MAX + 1)), Err(FilterError::TooLong));
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        let matching = [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("+", "a"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("a/+/c", "a//c"),
            ("$SYS/#", "$SYS/broker"),
            ("$SYS/+", "$SYS/x"),
        ];
        for (filter, topic) in matching {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        let others = [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a/b", "a"),
            ("a", "a/b"),
        ];
        for (filter, topic) in others {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
