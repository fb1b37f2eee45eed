//! The bridge's settings: raw as people write them, then validated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use program::outcome::Failure;
use program::settings::{Settings, load};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemas::TopicName;
use serde::Deserialize;

use crate::args::ConfigArguments;

const GROUP_PREFIX: &str = "headwater-bridge";
const FILE_BYTES_DEFAULT: u64 = 64 << 20;
const BATCH_RECORDS_DEFAULT: usize = 1000;
const TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// The settings as they stand in the file and the environment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// `HOST:PORT[,HOST:PORT…]` of Kafka listeners. Default: `127.0.0.1:9092`.
    #[serde(default = "default_hub")]
    hub: String,
    #[serde(default)]
    pipelines: Vec<RawPipeline>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPipeline {
    /// Names the consumer group: `headwater-bridge-NAME`.
    name: String,
    topics: Vec<String>,
    sink: RawSink,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum RawSink {
    JsonView {
        /// What is put behind a topic's name for its view. Default: `.json`.
        suffix: Option<String>,
    },
    Http {
        url: String,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// Milliseconds until an answer. Default: 30000.
        timeout_ms: Option<u64>,
        /// Records in one request. Default: 1000.
        batch_records_max: Option<usize>,
    },
    JsonLines {
        directory: PathBuf,
        /// A file is closed when it is larger. Default: 64 MiB.
        file_bytes_max: Option<u64>,
    },
}

fn default_hub() -> String {
    "127.0.0.1:9092".to_owned()
}

impl Settings for Raw {
    const KEYS: &'static [&'static str] = &["hub", "pipelines"];
}

/// Settings that the bridge can run with.
#[derive(Clone, Debug)]
pub struct BridgeSettings {
    pub hub: String,
    pub pipelines: Vec<PipelineSettings>,
}

#[derive(Clone, Debug)]
pub struct PipelineSettings {
    pub name: String,
    pub group: String,
    pub topics: Vec<TopicName>,
    pub sink: SinkSettings,
}

#[derive(Clone, Debug)]
pub enum SinkSettings {
    JsonView { suffix: String },
    Http(HttpSettings),
    JsonLines { directory: PathBuf, file_bytes_max: u64 },
}

#[derive(Clone, Debug)]
pub struct HttpSettings {
    pub url: Url,
    pub headers: HeaderMap,
    pub timeout: Duration,
    pub batch_records_max: usize,
}

/// Reads file and environment.
pub fn read(arguments: &ConfigArguments) -> Result<BridgeSettings, Failure> {
    let raw: Raw = load(Some(&arguments.config), std::env::vars(), &[]).map_err(Failure::usage)?;
    validated(raw).map_err(|what| Failure::usage(format!("{}: {what}", arguments.config.display())))
}

fn validated(raw: Raw) -> Result<BridgeSettings, String> {
    if raw.pipelines.is_empty() {
        return Err("no [[pipelines]]: there is nothing to do; --help shows an example".to_owned());
    }
    let mut names = BTreeSet::new();
    let mut pipelines = Vec::new();
    for pipeline in raw.pipelines {
        if !names.insert(pipeline.name.clone()) {
            return Err(format!("two pipelines are named {:?}", pipeline.name));
        }
        pipelines.push(validated_pipeline(pipeline)?);
    }
    Ok(BridgeSettings { hub: raw.hub, pipelines })
}

fn validated_pipeline(raw: RawPipeline) -> Result<PipelineSettings, String> {
    let RawPipeline { name, topics, sink } = raw;
    let wrong = |what: String| format!("pipeline {name:?}: {what}");
    if TopicName::try_from(name.as_str()).is_err() {
        return Err(wrong("the name may have letters, digits, '.', '_' and '-'".to_owned()));
    }
    if topics.is_empty() {
        return Err(wrong("topics is empty".to_owned()));
    }
    let topic = |name: &String| {
        TopicName::try_from(name.as_str()).map_err(|error| wrong(format!("{name:?}: {error}")))
    };
    let topics = topics.iter().map(topic).collect::<Result<Vec<_>, _>>()?;
    let sink = validated_sink(sink, &topics).map_err(wrong)?;
    Ok(PipelineSettings { group: format!("{GROUP_PREFIX}-{name}"), name, topics, sink })
}

fn validated_sink(raw: RawSink, topics: &[TopicName]) -> Result<SinkSettings, String> {
    match raw {
        RawSink::JsonView { suffix } => {
            let suffix = suffix.unwrap_or_else(|| ".json".to_owned());
            if suffix.is_empty() {
                return Err("suffix is empty: the view would be its own source".to_owned());
            }
            for topic in topics {
                TopicName::try_from(format!("{topic}{suffix}").as_str())
                    .map_err(|error| error.to_string())?;
            }
            Ok(SinkSettings::JsonView { suffix })
        }
        RawSink::Http { url, headers, timeout_ms, batch_records_max } => {
            Ok(SinkSettings::Http(HttpSettings {
                url: http_url(&url)?,
                headers: http_headers(&headers)?,
                timeout: Duration::from_millis(at_least_one(
                    "timeout_ms",
                    timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
                )?),
                batch_records_max: at_least_one(
                    "batch_records_max",
                    batch_records_max.unwrap_or(BATCH_RECORDS_DEFAULT),
                )?,
            }))
        }
        RawSink::JsonLines { directory, file_bytes_max } => {
            let file_bytes_max =
                at_least_one("file_bytes_max", file_bytes_max.unwrap_or(FILE_BYTES_DEFAULT))?;
            Ok(SinkSettings::JsonLines { directory, file_bytes_max })
        }
    }
}

fn at_least_one<N: PartialEq + From<u8>>(key: &str, number: N) -> Result<N, String> {
    if number == N::from(0) { Err(format!("{key} is 0")) } else { Ok(number) }
}

fn http_url(url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url).map_err(|error| format!("url {url:?}: {error}"))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        other => Err(format!("url {url:?}: {other} is neither http nor https")),
    }
}

fn http_headers(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut parsed = HeaderMap::new();
    for (name, value) in headers {
        let wrong = || format!("header {name:?} cannot be sent");
        let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
        // It may be a password: it is not to appear in a log line.
        value.set_sensitive(true);
        parsed.insert(key, value);
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(name: &str, sink: RawSink) -> RawPipeline {
        RawPipeline { name: name.into(), topics: vec!["telemetry".into()], sink }
    }

    fn refused(pipelines: Vec<RawPipeline>) -> String {
        validated(Raw { hub: default_hub(), pipelines }).unwrap_err()
    }

    fn http(url: &str, timeout_ms: Option<u64>) -> RawSink {
        RawSink::Http { url: url.into(), headers: BTreeMap::new(), timeout_ms, batch_records_max: None }
    }

    #[test]
    fn a_pipeline_names_its_group() {
        let view = RawSink::JsonView { suffix: None };
        let settings =
            validated(Raw { hub: default_hub(), pipelines: vec![pipeline("view", view)] }).unwrap();
        assert_eq!(settings.pipelines[0].group, "headwater-bridge-view");
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        assert!(refused(vec![]).contains("[[pipelines]]"));
        let view = || RawSink::JsonView { suffix: None };
        assert!(refused(vec![pipeline("a", view()), pipeline("a", view())]).contains("two pipelines"));
        assert!(refused(vec![pipeline("a b", view())]).contains("\"a b\""));
        assert!(refused(vec![RawPipeline { topics: vec![], ..pipeline("a", view()) }]).contains("topics"));
        assert!(
            refused(vec![pipeline("a", RawSink::JsonView { suffix: Some(String::new()) })])
                .contains("suffix")
        );
        assert!(refused(vec![pipeline("a", http("ftp://x", None))]).contains("neither http"));
        assert!(refused(vec![pipeline("a", http("not a url", None))]).contains("url"));
        assert!(refused(vec![pipeline("a", http("http://x", Some(0)))]).contains("timeout_ms"));
    }
}
