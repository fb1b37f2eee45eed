//! `bridge check`: is everything there that the pipelines need?

use std::time::Duration;

use program::outcome::Failure;
use program::output::line;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::runtime::Builder;

use crate::settings::{BridgeSettings, PipelineSettings};
use crate::sinks;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Prints a line for the hub, each topic and each sink; fails where one of them does not answer.
pub fn run(settings: &BridgeSettings) -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(Failure::run)?;
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &settings.hub).create().map_err(Failure::run)?;
    let metadata = consumer
        .fetch_metadata(None, ANSWER_WITHIN)
        .map_err(|error| Failure::run(format!("hub {}: {error}; is it running?", settings.hub)))?;
    line(format_args!("hub {}: answers", settings.hub));
    let known: Vec<&str> = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name).collect();
    let mut bad = Vec::new();
    for pipeline in &settings.pipelines {
        check_topics(pipeline, &known);
        let answer = sinks::open(&settings.hub, pipeline).and_then(|sink| runtime.block_on(sink.check()));
        match answer {
            Ok(words) => line(format_args!("pipeline {}: sink: {words}", pipeline.name)),
            Err(error) => bad.push(format!("pipeline {}: sink: {error}", pipeline.name)),
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(Failure::run(bad.join("; "))) }
}

fn check_topics(pipeline: &PipelineSettings, known: &[&str]) {
    for topic in &pipeline.topics {
        let words = if known.contains(&topic.as_str()) { "is there" } else { "is not there yet" };
        line(format_args!("pipeline {}: topic {topic} {words}", pipeline.name));
    }
}
