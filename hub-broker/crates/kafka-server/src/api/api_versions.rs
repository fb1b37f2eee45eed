//! ApiVersions (KIP-35, KIP-511): what the hub offers.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::Encodable;

use super::TABLE;
use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::wire::{Field, Shape, since};

pub(crate) struct ApiVersions;

impl Control for ApiVersions {
    type Request = ApiVersionsRequest;

    const VERSIONS: Versions = Versions::new(0, 4);
    const SHAPE: &'static [Field] = &[since(3, Shape::String), since(3, Shape::String)];

    async fn handle(_session: &Session, _head: &Head, _request: ApiVersionsRequest) -> ApiVersionsResponse {
        offered()
    }
}

fn offered() -> ApiVersionsResponse {
    let apis = TABLE.iter().map(|entry| {
        ApiVersion::default()
            .with_api_key(entry.key)
            .with_min_version(entry.versions.min)
            .with_max_version(entry.versions.max)
    });
    ApiVersionsResponse::default().with_api_keys(apis.collect())
}

/// The body of version 0 with error 35 and the list, for a client whose version is unknown here.
pub(crate) fn versions_of_newer_client() -> Bytes {
    let mut body = BytesMut::new();
    let response = offered().with_error_code(errors::UNSUPPORTED_VERSION);
    response.encode(&mut body, 0).expect("version 0 has nothing that could not be encoded");
    body.freeze()
}
