//! Where records go.

mod http;
mod json_lines;
mod json_view;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::record::{Batch, Partition};
use crate::settings::{PipelineSettings, SinkSettings};

/// A sink of one pipeline.
///
/// `write` MUST return `Ok` only when the data is safe: it is committed then and never offered again. It MAY be
/// called again with the same records after an error or a crash; each sink says what that leads to. It is never
/// called for two batches of one partition at a time, and MUST NOT let one partition wait for another.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Before a partition's first batch: the offset below which the sink has everything, as far as it can tell.
    async fn resume_from(&self, partition: &Partition) -> Result<Option<i64>, SinkError>;

    /// Stores a batch.
    async fn write(&self, batch: &Batch) -> Result<(), SinkError>;

    /// Whether the sink answers, in words for people.
    async fn check(&self) -> Result<String, SinkError>;

    /// Records that one `write` should have at most.
    fn batch_records_max(&self) -> usize;
}

/// Why a sink did not take a batch. All of these are tried again with backoff: nothing is skipped.
#[derive(Debug, Error)]
pub enum SinkError {
    #[error("view topic {topic}: {source}")]
    View { topic: String, source: rdkafka::error::KafkaError },
    #[error("view topic {topic}, partition {partition}: {what}")]
    ViewDamaged { topic: String, partition: i32, what: &'static str },
    #[error("{url}: {source}")]
    Http { url: String, source: reqwest::Error },
    #[error("{url} answered {status}: {body}")]
    HttpStatus { url: String, status: u16, body: String },
    #[error("{path}: {source}", path = .path.display())]
    File { path: std::path::PathBuf, source: std::io::Error },
}

/// Makes the sink that a pipeline names.
pub fn open(hub: &str, pipeline: &PipelineSettings) -> Result<Arc<dyn Sink>, SinkError> {
    Ok(match &pipeline.sink {
        SinkSettings::JsonView { suffix } => Arc::new(json_view::JsonView::open(hub, suffix)?),
        SinkSettings::Http(settings) => Arc::new(http::HttpSink::open(settings)?),
        SinkSettings::JsonLines { directory, file_bytes_max } => {
            Arc::new(json_lines::JsonLines::open(directory, *file_bytes_max)?)
        }
    })
}
