//! The last will: a publish that the hub makes when a client goes without a DISCONNECT. Its delay is not waited for.

use bytes::Bytes;
use ingest::{Path, PlainMessage, system_clock};
use rumqttd::protocol::{LastWill, LastWillProperties};
use schemas::key_partition;

use super::calls::fixed_headers;
use super::{Client, Hub};
use crate::fanout::message::header;
use crate::wire::Qos;

pub struct Will {
    topic: String,
    payload: Bytes,
    qos: Qos,
    retain: bool,
    headers: Vec<(String, Vec<u8>)>,
}

impl Will {
    /// The topic MUST have been checked.
    pub fn new(will: &LastWill, properties: Option<&LastWillProperties>) -> Self {
        Self {
            topic: String::from_utf8_lossy(&will.topic).into_owned(),
            payload: will.message.clone(),
            qos: will.qos.into(),
            retain: will.retain,
            headers: properties.map(headers).unwrap_or_default(),
        }
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Publishes the will as if the client had, without anybody waiting for it.
    pub async fn publish(self, hub: &Hub, client: &Client) {
        let Some((_, route)) = hub.routes.find(&self.topic) else { return };
        if self.retain && hub.fanout.expect_retained().await.is_err() {
            return;
        }
        let topic = match hub.metadata.ensure_topic(&client.principal, &route.topic).await {
            Ok(topic) => topic,
            Err(error) => {
                tracing::warn!(client = &*client.id, %error, "the will has no log topic");
                return;
            }
        };
        let key = route.key(&self.topic);
        let partition = key_partition(key.as_bytes(), topic.partition_count());
        let mut list = fixed_headers(self.qos, self.retain).to_vec();
        if key != self.topic {
            list.push((header::TOPIC, self.topic.as_bytes()));
        }
        list.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let message = PlainMessage {
            timestamp_ms: system_clock(),
            key: key.as_bytes(),
            value: &self.payload,
            headers: &list,
        };
        let id = client.id.clone();
        let done = Box::new(move |stored: Result<_, ingest::PlainError>| {
            if let Err(error) = stored {
                ingest::refused(Path::Mqtt, error.reason(), 1);
                tracing::warn!(client = &*id, %error, "the will was not stored");
            }
        });
        hub.ingest.plain(&client.principal, &topic, partition, &[message], done);
    }
}

fn headers(properties: &LastWillProperties) -> Vec<(String, Vec<u8>)> {
    let mut list = Vec::new();
    let mut put = |name: &str, value: &[u8]| list.push((name.to_owned(), value.to_vec()));
    if properties.payload_format_indicator == Some(1) {
        put(header::PAYLOAD_FORMAT, b"1");
    }
    if let Some(seconds) = properties.message_expiry_interval {
        put(header::MESSAGE_EXPIRY, seconds.to_string().as_bytes());
    }
    if let Some(text) = &properties.content_type {
        put(header::CONTENT_TYPE, text.as_bytes());
    }
    if let Some(topic) = &properties.response_topic {
        put(header::RESPONSE_TOPIC, topic.as_bytes());
    }
    if let Some(data) = &properties.correlation_data {
        put(header::CORRELATION_DATA, data);
    }
    for (name, value) in &properties.user_properties {
        put(&format!("{}{name}", header::USER_PREFIX), value.as_bytes());
    }
    list
}
