//! From a request's header to the handler of its API and version.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use crate::answer::{Answer, Head, Pending, RequestError};
use crate::api;
use crate::entry::Entry;
use crate::limits::CLIENT_ID_CHARS_MAX;
use crate::observe::Requests;
use crate::response::Response;
use crate::session::Session;
use crate::wire::{Reader, WireError};

/// By api key.
static REQUESTS: LazyLock<HashMap<i16, Requests>> =
    LazyLock::new(|| api::all().map(|entry| (entry.key, Requests::of(entry.name))).collect());

/// Begins a request. Called in the order of the requests of a connection.
pub(crate) fn begin(session: &Arc<Session>, request: Bytes) -> Result<Pending, RequestError> {
    let request_bytes = request.len();
    let mut header = Reader::new(request, false);
    let (api_key, version, correlation_id) = fixed_header(&mut header).map_err(RequestError::Header)?;
    let entry = api::find(api_key).ok_or(RequestError::UnknownApi(api_key))?;
    if let Some(requests) = REQUESTS.get(&entry.key) {
        requests.count(request_bytes);
    }
    if !entry.versions.contains(version) {
        return unknown_version(entry, version, correlation_id);
    }
    let client_id = client_id(&mut header).map_err(RequestError::Header)?;
    let flexible = entry.is_flexible(version);
    let mut body = header.into_flexible(flexible);
    body.skip_tagged_fields().map_err(RequestError::Header)?;
    let head = Head {
        api: entry.name,
        version,
        correlation_id,
        client_id,
        flexible_response: (entry.response_header)(version) >= 1,
    };
    (entry.begin)(session, head, body)
}

fn fixed_header(header: &mut Reader) -> Result<(i16, i16, i32), WireError> {
    Ok((header.i16()?, header.i16()?, header.i32()?))
}

/// Not compact even in the flexible header (KIP-482), so that any broker can read it.
fn client_id(header: &mut Reader) -> Result<String, WireError> {
    let id = header.nullable_string()?.unwrap_or_default();
    let id = std::str::from_utf8(&id).map_err(|_| WireError::NotUtf8)?;
    Ok(id.chars().take(CLIENT_ID_CHARS_MAX).collect())
}

/// KIP-511: a client that is newer than the hub asks in a version that the hub does not know, and learns
/// from an answer of version 0 what it may use.
fn unknown_version(entry: &Entry, version: i16, correlation_id: i32) -> Result<Pending, RequestError> {
    if entry.name != api::API_VERSIONS {
        return Err(RequestError::UnknownVersion { api: entry.name, version });
    }
    let body = api::versions_of_newer_client();
    Ok(Pending::lazy(async move { Ok(Answer::Response(Response::new(correlation_id, false, vec![body]))) }))
}
