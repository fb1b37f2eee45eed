//! Answers: the one place where what happened becomes a status.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::inputs::NotStored;

pub type Answer = Response<Full<Bytes>>;

/// InfluxDB's clients look for it.
const VERSION_HEADER: HeaderName = HeaderName::from_static("x-influxdb-version");
const VERSION: &str = concat!("headwater-", env!("CARGO_PKG_VERSION"));
/// When a client may try again.
const RETRY_AFTER_SECONDS: u16 = 10;

/// Why a request is not carried out, or not wholly.
#[derive(Debug)]
pub enum Refusal {
    NotFound(String),
    /// The method that the path has.
    Method(&'static str),
    Unauthorized,
    Precision(String),
    UnknownCoding,
    UnknownType,
    TooLarge(usize),
    TooSlow(Duration),
    /// Other bodies have the room.
    Busy,
    Unreadable(String),
    /// A pack that is not taken.
    Pack(String),
    Partial(Partial),
    NotStored(NotStored),
    /// The buffer has not taken it in this time.
    NotStoredWithin(Duration),
}

/// Lines that were refused while the others were stored.
#[derive(Debug)]
pub struct Partial {
    /// The first of them, from 1.
    pub line: u64,
    /// What stands in it, shortened.
    pub text: String,
    pub what: String,
    pub refused: u64,
    pub stored: usize,
}

pub fn stored() -> Answer {
    empty(StatusCode::NO_CONTENT)
}

/// Of `/ping`.
pub fn pong() -> Answer {
    let mut answer = empty(StatusCode::NO_CONTENT);
    answer.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    answer
}

/// Of `/health`.
pub fn health() -> Answer {
    let health = json!({
        "name": "headwater",
        "message": "ready for writes",
        "status": "pass",
        "checks": [],
        "version": env!("CARGO_PKG_VERSION"),
    });
    with_json(StatusCode::OK, &health)
}

impl Refusal {
    pub fn answer(&self) -> Answer {
        let (status, code) = self.status();
        let message = self.message();
        // InfluxDB 1 tells it in `error`, InfluxDB 2 in `code` and `message`.
        let mut told = json!({ "code": code, "message": message, "error": message });
        if let Self::Partial(partial) = self {
            told["line"] = json!(partial.line);
        }
        let mut answer = with_json(status, &told);
        let headers = answer.headers_mut();
        match self {
            Self::Method(method) => drop(headers.insert(ALLOW, HeaderValue::from_static(method))),
            Self::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Token, Basic"));
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        answer
    }

    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not found"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::UnknownCoding | Self::UnknownType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "request too large"),
            Self::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "request timeout"),
            Self::Precision(_)
            | Self::Unreadable(_)
            | Self::Pack(_)
            | Self::Partial(_)
            | Self::NotStored(NotStored::Refused(_)) => (StatusCode::BAD_REQUEST, "invalid"),
            Self::Busy
            | Self::NotStored(NotStored::Full | NotStored::NoRoom | NotStored::Closed)
            | Self::NotStoredWithin(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NotFound(path) => {
                format!("{path:?} is not served; /write, /api/v2/write, /senml, /ping and /health are")
            }
            Self::Method(method) => format!("only {method} is served here"),
            Self::Unauthorized => "a token is needed: Authorization: Token …".to_owned(),
            Self::Precision(text) => format!("precision {text:?} is not one of ns, us, ms, s, m and h"),
            Self::UnknownCoding => "of content codings only gzip is understood".to_owned(),
            Self::UnknownType => {
                "Content-Type is to be application/senml+json or application/senml+cbor".to_owned()
            }
            Self::TooLarge(bytes) => format!("a body has at most {bytes} bytes (body_bytes_max)"),
            Self::TooSlow(time) => format!("the body has not come within {} s", time.as_secs()),
            Self::Busy => "other requests are being read; try again".to_owned(),
            Self::Unreadable(what) | Self::Pack(what) => what.clone(),
            Self::Partial(partial) => partial.to_string(),
            Self::NotStored(why @ NotStored::Refused(_)) => {
                format!("partial write: {why}; all else is stored")
            }
            Self::NotStored(why) => format!("{why}; some rows may be stored"),
            Self::NotStoredWithin(time) => {
                format!("the buffer has not taken it within {} s; some rows may be stored", time.as_secs())
            }
        }
    }
}

impl Display for Partial {
    /// Telegraf knows by these words that the rest is stored, and that repeating it would help nobody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, text, what, refused, stored } = self;
        write!(
            f,
            "partial write: line {line}: unable to parse '{text}': {what}; stored={stored} dropped={refused}"
        )
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn with_json(status: StatusCode, told: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::from(told.to_string() + "\n"));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
