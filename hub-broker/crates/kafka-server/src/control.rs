//! Control requests: walked, then decoded and answered with kafka-protocol's types.

use std::future::Future;
use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::protocol::{Decodable, Encodable, Request};

use crate::answer::{Answer, Head, Pending, RequestError};
use crate::entry::{Entry, Versions};
use crate::session::Session;
use crate::wire::{Field, Reader, WireError, walk};

/// One API without record bytes.
pub(crate) trait Control {
    type Request: Request<Response: Send> + Send;

    /// What the handler implements, and no more.
    const VERSIONS: Versions;
    /// What the request looks like on the wire.
    const SHAPE: &'static [Field];

    fn handle(
        session: &Session,
        head: &Head,
        request: Self::Request,
    ) -> impl Future<Output = <Self::Request as Request>::Response> + Send;
}

/// The API's line in the table.
pub(crate) const fn entry<A: Control + 'static>(name: &'static str) -> Entry {
    Entry {
        name,
        key: A::Request::KEY,
        versions: A::VERSIONS,
        request_header: <A::Request as kafka_protocol::protocol::HeaderVersion>::header_version,
        response_header: response_header::<A::Request>,
        begin: begin::<A>,
    }
}

fn response_header<R: Request>(version: i16) -> i16 {
    <R::Response as kafka_protocol::protocol::HeaderVersion>::header_version(version)
}

fn begin<A: Control + 'static>(
    session: &Arc<Session>,
    head: Head,
    body: Reader,
) -> Result<Pending, RequestError> {
    let request = decode::<A>(body, head.version).map_err(|error| head.malformed(error))?;
    let session = Arc::clone(session);
    Ok(Pending::lazy(async move {
        let response = A::handle(&session, &head, request).await;
        encode(&head, &response)
    }))
}

pub(crate) fn decode<A: Control>(mut body: Reader, version: i16) -> Result<A::Request, WireError> {
    let mut bytes = body.rest();
    // What follows the last field is let be, as Kafka does: librdkafka 2.12 ends a Metadata request for all
    // topics with three bytes too many.
    walk(&mut body, A::SHAPE, version)?;
    A::Request::decode(&mut bytes, version).map_err(|_| WireError::Refused)
}

fn encode<R: Encodable>(head: &Head, response: &R) -> Result<Answer, RequestError> {
    let mut body = BytesMut::new();
    match response.encode(&mut body, head.version) {
        Ok(()) => Ok(Answer::Response(head.respond(vec![body.freeze()]))),
        Err(error) => {
            tracing::error!(api = head.api, version = head.version, %error, "cannot encode an answer");
            Err(RequestError::Unencodable { api: head.api, version: head.version })
        }
    }
}
