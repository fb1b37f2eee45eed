//! DescribeConfigs, of topics. A hub as a resource has no settings that a client could know or change.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use metadata::ConfigEntry;

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::{by_name, text};
use crate::wire::{Field, Shape, all, since};

pub(crate) struct DescribeConfigs;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// KIP-226: where a setting comes from.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

impl Control for DescribeConfigs {
    type Request = DescribeConfigsRequest;

    const VERSIONS: Versions = Versions::new(1, 4);
    const SHAPE: &'static [Field] = &[
        all(Shape::Structs(&[all(Shape::Int8), all(Shape::String), all(Shape::Many(&Shape::String))])),
        all(Shape::Int8),
        since(3, Shape::Int8),
    ];

    async fn handle(
        session: &Session,
        head: &Head,
        request: DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
        let results = request.resources.into_iter().map(|resource| describe(session, head, resource));
        DescribeConfigsResponse::default().with_results(results.collect())
    }
}

fn describe(session: &Session, head: &Head, resource: DescribeConfigsResource) -> DescribeConfigsResult {
    let answer = DescribeConfigsResult::default().with_resource_type(resource.resource_type);
    let entries = match resource.resource_type {
        TOPIC => {
            let view = session.context.metadata.view();
            by_name(&view, &resource.resource_name)
                .map(|topic| topic.config.entries())
                .ok_or_else(|| errors::unknown_topic(head))
        }
        BROKER => Ok(Vec::new()),
        _ => Err(errors::invalid_request(head)),
    };
    let answer = answer.with_resource_name(resource.resource_name);
    match entries {
        Ok(entries) => {
            let keys = resource.configuration_keys;
            let asked = |entry: &ConfigEntry| {
                keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.as_str() == entry.key))
            };
            answer.with_configs(entries.into_iter().filter(asked).map(setting).collect())
        }
        Err(code) => answer.with_error_code(code),
    }
}

fn setting(entry: ConfigEntry) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(text(entry.key))
        .with_value(Some(text(entry.value)))
        .with_config_source(if entry.is_default { SOURCE_DEFAULT } else { SOURCE_TOPIC })
}
