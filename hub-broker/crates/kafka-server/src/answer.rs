//! What a request turns into: an answer that is owed, and later the answer.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use thiserror::Error;

use crate::response::Response;
use crate::wire::WireError;

/// Why a request cannot be answered; its connection is closed.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    #[error("a request header that is none: {0}")]
    Header(WireError),
    #[error("api key {0} is not offered")]
    UnknownApi(i16),
    #[error("version {version} of {api} is not offered")]
    UnknownVersion { api: &'static str, version: i16 },
    #[error("a {api} request of version {version} that is none: {source}")]
    Malformed { api: &'static str, version: i16, source: WireError },
    /// A fault of ours.
    #[error("an answer to {api} of version {version} that cannot be encoded")]
    Unencodable { api: &'static str, version: i16 },
}

/// What a connection does when an answer's turn has come.
pub(crate) enum Answer {
    Response(Response),
    /// The client wants none.
    None,
    /// The client wants none, but has to learn that something went wrong.
    Close(String),
}

pub(crate) type AnswerFuture = Pin<Box<dyn Future<Output = Result<Answer, RequestError>> + Send>>;

/// An answer that is owed.
pub(crate) struct Pending {
    pub(crate) answer: AnswerFuture,
    durable_work: bool,
}

impl Pending {
    /// Work that only happens while this is awaited.
    pub(crate) fn lazy(answer: impl Future<Output = Result<Answer, RequestError>> + Send + 'static) -> Self {
        Self { answer: Box::pin(answer), durable_work: false }
    }

    /// Work that is on its way already; awaiting only tells how it ended.
    pub(crate) fn begun(answer: impl Future<Output = Result<Answer, RequestError>> + Send + 'static) -> Self {
        Self { answer: Box::pin(answer), durable_work: true }
    }

    pub(crate) fn is_durable_work(&self) -> bool {
        self.durable_work
    }
}

/// What every handler may know about its request.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) api: &'static str,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: String,
    pub(crate) flexible_response: bool,
}

impl Head {
    pub(crate) fn malformed(&self, source: WireError) -> RequestError {
        RequestError::Malformed { api: self.api, version: self.version, source }
    }

    pub(crate) fn respond(&self, body: Vec<Bytes>) -> Response {
        Response::new(self.correlation_id, self.flexible_response, body)
    }
}
