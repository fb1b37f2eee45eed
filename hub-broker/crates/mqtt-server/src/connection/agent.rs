//! What an agent says of itself at CONNECT, and what it is told.

use std::sync::Arc;

use metadata::Principal;
use rumqttd::protocol::ConnAckProperties;
use schemas::mqtt::{LOG_TOPICS_MAX, log_topic_answer, property};
use schemas::{DeviceId, TopicName};

use super::Hub;
use crate::reason::ConnectRefusal;
use crate::wire::control::ConnectPacket;

/// The device that the client names, if it is an agent. Each log topic that it names is opened to agents, and answered
/// with its partition count; one that cannot be had is left out, and publishes to it will be refused.
pub async fn introduce(
    hub: &Arc<Hub>,
    principal: &Principal,
    packet: &ConnectPacket,
    answer: &mut ConnAckProperties,
) -> Result<Option<DeviceId>, ConnectRefusal> {
    let named = |wanted: &'static str| {
        let user = packet.properties.user_properties.iter();
        user.filter(move |(name, _)| name == wanted).map(|(_, value)| value.as_str())
    };
    let Some(device) = named(property::DEVICE).next() else { return Ok(None) };
    let device = DeviceId::try_from(device).map_err(|_| ConnectRefusal::DeviceId)?;
    if !principal.is_anonymous() && *principal.name != *device.as_str() {
        return Err(ConnectRefusal::OtherDevice);
    }
    if named(property::LOG_TOPIC).count() > LOG_TOPICS_MAX {
        return Err(ConnectRefusal::TooManyTopics);
    }
    for name in named(property::LOG_TOPIC) {
        if let Some((topic, partitions)) = open(hub, principal, name, &device).await {
            let value = log_topic_answer(&topic, partitions);
            answer.user_properties.push((property::LOG_TOPIC.to_owned(), value));
        }
    }
    let now_ms = ingest::system_clock().to_string();
    answer.user_properties.push((property::TIME.to_owned(), now_ms));
    Ok(Some(device))
}

async fn open(hub: &Hub, principal: &Principal, name: &str, device: &DeviceId) -> Option<(TopicName, i32)> {
    let Ok(name) = TopicName::try_from(name) else {
        tracing::warn!(%device, topic = name, "an agent names a log topic that cannot be");
        return None;
    };
    match hub.metadata.admit_agents(principal, &name).await {
        Ok(topic) => Some((name, topic.partition_count())),
        Err(error) => {
            tracing::warn!(%device, topic = %name, %error, "a log topic cannot be opened to agents");
            None
        }
    }
}
