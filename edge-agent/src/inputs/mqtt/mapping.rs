//! From who publishes and under which topic to a sensor's name: `{child}/{what is left of the topic}`.

use thiserror::Error;

use crate::config::{ChildName, ChildSettings};

/// Who publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    /// Where it proved one.
    pub username: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Mapping {
    pub prefix: String,
    pub child: ChildSettings,
}

/// Where a message's sensors are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    child: String,
    /// May be empty.
    rest: String,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TopicError {
    #[error("topic {0:?} does not begin with {1:?}")]
    OtherPrefix(String, String),
    #[error("topic {0:?} has no level {1} for the child's name")]
    NoLevel(String, usize),
    #[error("topic {0:?} has a wildcard in it, or nothing")]
    Name(String),
}

impl Mapping {
    /// Whether the client's id names its child, so that it must be a good one.
    pub fn needs_client_id(&self) -> bool {
        self.child == ChildSettings::Name(ChildName::ClientId)
    }

    pub fn place(&self, client: &Client, topic: &str) -> Result<Place, TopicError> {
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(TopicError::Name(topic.to_owned()));
        }
        let rest = topic.strip_prefix(self.prefix.as_str());
        let rest = rest.ok_or_else(|| TopicError::OtherPrefix(topic.to_owned(), self.prefix.clone()))?;
        let named = |child: &str| Place { child: child.to_owned(), rest: rest.trim_matches('/').to_owned() };
        match &self.child {
            ChildSettings::Name(ChildName::ClientId) => Ok(named(&client.id)),
            ChildSettings::Name(ChildName::Username) => {
                Ok(named(client.username.as_deref().unwrap_or_default()))
            }
            ChildSettings::Level(level) => {
                let mut levels: Vec<&str> = rest.split('/').collect();
                if levels.get(level - 1).is_none_or(|child| child.is_empty()) {
                    return Err(TopicError::NoLevel(topic.to_owned(), *level));
                }
                let child = levels.remove(level - 1).to_owned();
                levels.retain(|level| !level.is_empty());
                Ok(Place { child, rest: levels.join("/") })
            }
        }
    }
}

impl Place {
    /// The name of a sensor within a message.
    pub fn sensor(&self, field: &str) -> String {
        match self.rest.as_str() {
            "" => format!("{}/{field}", self.child),
            rest => format!("{}/{rest}/{field}", self.child),
        }
    }

    /// The name of the one sensor that a message is of; `None` where the topic has none left.
    pub fn alone(&self) -> Option<String> {
        (!self.rest.is_empty()).then(|| format!("{}/{}", self.child, self.rest))
    }
}

/// What a child may be called: it stands before the first slash of its sensors' names.
pub fn is_good_child(name: &str) -> bool {
    const BYTES_MAX: usize = 128;
    !name.is_empty() && name.len() <= BYTES_MAX && !name.contains('/') && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(prefix: &str, child: ChildSettings, topic: &str) -> Result<Place, TopicError> {
        let client = Client { id: "node-7".into(), username: Some("kitchen".into()) };
        Mapping { prefix: prefix.into(), child }.place(&client, topic)
    }

    const BY_ID: ChildSettings = ChildSettings::Name(ChildName::ClientId);
    const BY_NAME: ChildSettings = ChildSettings::Name(ChildName::Username);

    #[test]
    fn the_child_is_the_client_or_a_level() {
        let alone = |prefix, child, topic| place(prefix, child, topic).map(|place| place.alone().unwrap());
        assert_eq!(alone("", BY_ID, "env/temp"), Ok("node-7/env/temp".into()));
        assert_eq!(alone("", BY_NAME, "temp"), Ok("kitchen/temp".into()));
        assert_eq!(alone("home/", BY_ID, "home/temp"), Ok("node-7/temp".into()));
        assert_eq!(alone("tele/", ChildSettings::Level(1), "tele/plug-3/SENSOR"), Ok("plug-3/SENSOR".into()));
        assert_eq!(alone("", ChildSettings::Level(2), "a/plug-3/b/c"), Ok("plug-3/a/b/c".into()));
        assert_eq!(alone("home", BY_ID, "home/temp"), Ok("node-7/temp".into()));
    }

    #[test]
    fn fields_are_joined_to_what_is_left_of_the_topic() {
        let zigbee = place("zigbee2mqtt/", ChildSettings::Level(1), "zigbee2mqtt/kitchen").unwrap();
        assert_eq!((zigbee.sensor("temperature"), zigbee.alone()), ("kitchen/temperature".into(), None));
        let tele = place("tele/", ChildSettings::Level(1), "tele/plug/SENSOR").unwrap();
        assert_eq!(tele.sensor("AM2301/Temperature"), "plug/SENSOR/AM2301/Temperature");
    }

    #[test]
    fn a_topic_that_says_nothing_is_refused() {
        let refused = |prefix, child, topic| place(prefix, child, topic).unwrap_err().to_string();
        assert!(refused("home/", BY_ID, "away/temp").contains("does not begin with \"home/\""));
        assert!(refused("", ChildSettings::Level(3), "a/b").contains("no level 3"));
        assert!(refused("", ChildSettings::Level(1), "/b").contains("no level 1"));
        assert!(refused("", BY_ID, "").contains("nothing"));
        assert!(refused("", BY_ID, "a/+").contains("wildcard"));
    }

    #[test]
    fn a_childs_name_has_no_slash() {
        assert!(is_good_child("node-7 (attic)") && is_good_child("küche"));
        for wrong in ["", "a/b", "a\nb", &"x".repeat(129)] {
            assert!(!is_good_child(wrong), "{wrong}");
        }
    }
}
