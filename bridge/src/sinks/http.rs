//! HTTP POST of a JSON array of rows.
//!
//! Guarantee: at least once, in order within a partition. Every request carries `Idempotency-Key:
//! TOPIC/PARTITION/FIRST-LAST`; after a crash the same records may come again in other groupings, so a receiver
//! that wants them once keeps the highest offset of each partition, which every row names.

use async_trait::async_trait;
use reqwest::{Client, Response};
use serde_json::Value;

use super::{Sink, SinkError};
use crate::record::{Batch, Partition};
use crate::settings::HttpSettings;

/// How much of an error's body is logged.
const ERROR_CHARS_MAX: usize = 200;

pub struct HttpSink {
    client: Client,
    settings: HttpSettings,
}

impl HttpSink {
    pub fn open(settings: &HttpSettings) -> Result<Self, SinkError> {
        let client = Client::builder()
            .timeout(settings.timeout)
            .default_headers(settings.headers.clone())
            .user_agent(concat!("headwater-bridge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| SinkError::Http { url: settings.url.to_string(), source })?;
        Ok(Self { client, settings: settings.clone() })
    }

    fn failed(&self, source: reqwest::Error) -> SinkError {
        SinkError::Http { url: self.settings.url.to_string(), source: source.without_url() }
    }

    async fn refused(&self, answer: Response) -> SinkError {
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap_or_default();
        let body = body.chars().take(ERROR_CHARS_MAX).collect();
        SinkError::HttpStatus { url: self.settings.url.to_string(), status, body }
    }
}

#[async_trait]
impl Sink for HttpSink {
    async fn resume_from(&self, _partition: &Partition) -> Result<Option<i64>, SinkError> {
        Ok(None)
    }

    async fn write(&self, batch: &Batch) -> Result<(), SinkError> {
        let rows: Vec<Value> = batch.records.iter().map(|record| record.row(&batch.partition)).collect();
        let key = format!("{}/{}-{}", batch.partition, batch.first_offset(), batch.last_offset());
        let request = self
            .client
            .post(self.settings.url.clone())
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Value::Array(rows).to_string());
        let answer = request.send().await.map_err(|source| self.failed(source))?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refused(answer).await) }
    }

    async fn check(&self) -> Result<String, SinkError> {
        let answer = self.client.head(self.settings.url.clone()).send().await;
        let status = answer.map_err(|source| self.failed(source))?.status();
        Ok(format!("{} answers ({status} to HEAD)", self.settings.url))
    }

    fn batch_records_max(&self) -> usize {
        self.settings.batch_records_max
    }
}
