//! Where a plain publish goes: an MQTT filter with named levels → log topic, key and decoding.
//!
//! The first route whose filter matches takes the publish. The last one, unless it is switched off, takes everything
//! else into the log topic `mqtt` with the MQTT topic as key.

use schemas::TopicName;
use schemas::mqtt::log_topic;

use crate::wire::text::{self, FilterError, matches};

/// What a record's key is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The MQTT topic.
    Topic,
    /// One level of the MQTT topic, counted from 0.
    Level(usize),
}

/// What is done with a payload before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoding {
    /// Stored as it came.
    Raw,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// An MQTT filter; its named levels have become `+`.
    filter: String,
    pub topic: TopicName,
    pub key: Key,
    pub decoding: Decoding,
}

/// Why a route cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("route filter {filter:?}: {source}")]
    Filter { filter: String, source: FilterError },
    #[error("route filter {filter:?} has no level named {name:?}")]
    NoSuchLevel { filter: String, name: String },
    #[error("route filter {filter:?}: internal topics cannot be written to")]
    Internal { filter: String },
}

impl Route {
    /// `filter` may name levels, as in `plant/{line}/+/temperature`; `key_level` is such a name, `None` the whole
    /// MQTT topic.
    pub fn new(
        filter: &str,
        topic: TopicName,
        key_level: Option<&str>,
        decoding: Decoding,
    ) -> Result<Self, RouteError> {
        if topic.is_internal() {
            return Err(RouteError::Internal { filter: filter.to_owned() });
        }
        let name_of = |level: &'_ str| {
            level.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).map(str::to_owned)
        };
        let names: Vec<Option<String>> = filter.split('/').map(name_of).collect();
        let plain: Vec<&str> = filter
            .split('/')
            .zip(&names)
            .map(|(level, name)| if name.is_some() { "+" } else { level })
            .collect();
        let plain = plain.join("/");
        text::filter(&plain).map_err(|source| RouteError::Filter { filter: filter.to_owned(), source })?;
        let key = match key_level {
            None => Key::Topic,
            Some(wanted) => {
                let at = names.iter().position(|name| name.as_deref() == Some(wanted));
                Key::Level(at.ok_or_else(|| RouteError::NoSuchLevel {
                    filter: filter.to_owned(),
                    name: wanted.to_owned(),
                })?)
            }
        };
        Ok(Self { filter: plain, topic, key, decoding })
    }

    /// Everything goes into the log topic `mqtt`.
    #[must_use]
    pub fn default_route() -> Self {
        let topic = TopicName::try_from("mqtt").expect("a valid topic name");
        Self { filter: "#".to_owned(), topic, key: Key::Topic, decoding: Decoding::Raw }
    }

    /// What devices answer goes into the log topic of answers, with the device as key.
    fn answers() -> Self {
        let topic = TopicName::try_from(log_topic::ANSWERS).expect("a valid topic name");
        Self {
            filter: "headwater/v1/+/answers".to_owned(),
            topic,
            key: Key::Level(2),
            decoding: Decoding::Raw,
        }
    }

    /// The key of a record from this MQTT topic.
    #[must_use]
    pub fn key<'a>(&self, mqtt_topic: &'a str) -> &'a str {
        match self.key {
            Key::Topic => mqtt_topic,
            Key::Level(at) => mqtt_topic.split('/').nth(at).unwrap_or(mqtt_topic),
        }
    }
}

/// All routes, in the order in which they are tried; the last is that of devices' answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

impl Routes {
    #[must_use]
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.push(Route::answers());
        Self(routes)
    }

    /// The number of the route of devices' answers, which no plain publish takes.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.0.len() - 1
    }

    /// The route of a publish to a valid topic, and its number.
    #[must_use]
    pub fn find(&self, mqtt_topic: &str) -> Option<(usize, &Route)> {
        self.0.iter().enumerate().find(|(_, route)| matches(&route.filter, mqtt_topic))
    }

    /// The route of this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Route> {
        self.0.get(number)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The log topics that routes lead to, each once.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicName> {
        let mut topics: Vec<_> = self.0.iter().map(|route| route.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self::new(vec![Route::default_route()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::try_from(name).unwrap()
    }

    #[test]
    fn the_first_route_that_matches_takes_the_publish() {
        let plant = Route::new("plant/{line}/+/temp", topic("temps"), Some("line"), Decoding::Raw).unwrap();
        let routes = Routes::new(vec![plant, Route::default_route()]);
        let (_, route) = routes.find("plant/7/oven/temp").unwrap();
        assert_eq!((route.topic.as_str(), route.key("plant/7/oven/temp")), ("temps", "7"));
        let (_, route) = routes.find("plant/7/oven/humidity").unwrap();
        assert_eq!(
            (route.topic.as_str(), route.key("plant/7/oven/humidity")),
            ("mqtt", "plant/7/oven/humidity")
        );
        assert_eq!(routes.topics(), [topic("headwater.answers"), topic("mqtt"), topic("temps")]);
        assert_eq!(routes.get(routes.answers()).unwrap().key("headwater/v1/pump-7/answers"), "pump-7");
    }

    #[test]
    fn the_default_route_does_not_take_system_topics() {
        assert!(Routes::default().find("$SYS/uptime").is_none());
        assert!(Routes::default().find("a").is_some());
    }

    #[test]
    fn routes_that_cannot_be_say_why() {
        let filter = Route::new("a/#/b", topic("t"), None, Decoding::Raw);
        assert!(matches!(filter, Err(RouteError::Filter { .. })));
        let level = Route::new("a/{x}", topic("t"), Some("y"), Decoding::Raw);
        assert!(matches!(level, Err(RouteError::NoSuchLevel { .. })));
        let internal = Route::new("a", topic("__offsets"), None, Decoding::Raw);
        assert!(matches!(internal, Err(RouteError::Internal { .. })));
    }
}
