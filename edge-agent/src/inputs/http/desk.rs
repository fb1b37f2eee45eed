//! What becomes of a request.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Method, Request};
use schemas::senml::foreign::Encoding;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::access::Tokens;
use super::answer::{self, Answer, Refusal};
use super::body::{self, Packing};
use super::write::{self, Lines};
use crate::inputs::senml::{encoding_of, read_senml};
use crate::inputs::{Row, RowSink};
use crate::limits::STORED_WITHIN;

/// As many bodies of the largest size are in memory at a time, packed and unpacked.
const BODIES_AT_ONCE: usize = 2;
/// A pack becomes rows as a whole, which take more room than it.
const ROOM_PER_PACK_BYTE: usize = 8;
/// How long a request waits for room.
const ROOM_WITHIN: Duration = Duration::from_secs(20);

/// What all connections share.
pub struct Desk {
    rows: RowSink,
    tokens: Option<Tokens>,
    body_bytes_max: usize,
    /// Bytes that bodies may take; so many in all.
    room: Semaphore,
    room_bytes: usize,
}

/// What a path wants.
#[derive(Clone, Copy)]
enum Route {
    Ping,
    Health,
    Write,
    Senml,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/ping" => Self::Ping,
            "/health" => Self::Health,
            "/write" | "/api/v2/write" => Self::Write,
            "/senml" => Self::Senml,
            _ => return None,
        })
    }

    fn refuse_other_methods(self, method: &Method) -> Result<(), Refusal> {
        match self {
            Self::Ping | Self::Health if !matches!(*method, Method::GET | Method::HEAD) => {
                Err(Refusal::Method("GET"))
            }
            Self::Write | Self::Senml if *method != Method::POST => Err(Refusal::Method("POST")),
            _ => Ok(()),
        }
    }
}

impl Desk {
    pub fn new(rows: RowSink, tokens: Option<Tokens>, body_bytes_max: usize) -> Self {
        let room_bytes = BODIES_AT_ONCE * 2 * body_bytes_max;
        Self { rows, tokens, body_bytes_max, room: Semaphore::new(room_bytes), room_bytes }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        self.carry_out(&head, body).await.unwrap_or_else(|refusal| refusal.answer())
    }

    async fn carry_out(&self, head: &Parts, body: Incoming) -> Result<Answer, Refusal> {
        let path = head.uri.path();
        let route = Route::of(path).ok_or_else(|| Refusal::NotFound(path.to_owned()))?;
        route.refuse_other_methods(&head.method)?;
        match route {
            Route::Ping => return Ok(answer::pong()),
            Route::Health => return Ok(answer::health()),
            Route::Write | Route::Senml => {}
        }
        if self.tokens.as_ref().is_some_and(|tokens| !tokens.admit(&head.headers)) {
            return Err(Refusal::Unauthorized);
        }
        let packing = Packing::of(&head.headers)?;
        let bytes = body::size_hint(&body, packing, self.body_bytes_max)?;
        let _room =
            self.room(if matches!(route, Route::Senml) { bytes * ROOM_PER_PACK_BYTE } else { bytes }).await?;
        let body = body::read(body, packing, self.body_bytes_max).await;
        let body = body.inspect_err(|_| self.rows.bad(&"a request's body cannot be taken"))?;
        if matches!(route, Route::Senml) {
            self.senml(head, &body).await
        } else {
            self.write(head, &body).await
        }
    }

    async fn write(&self, head: &Parts, body: &Bytes) -> Result<Answer, Refusal> {
        let asked = parameter(head, "precision").unwrap_or_default();
        let precision = write::precision(&asked).ok_or_else(|| Refusal::Precision(asked.into_owned()))?;
        let mut lines = Lines::new(body, precision);
        let stored = self.store(lines.by_ref()).await;
        let partial = lines.finish();
        if let Some(partial) = &partial {
            (0..partial.refused).for_each(|_| self.rows.bad(partial));
        }
        stored?;
        partial.map_or_else(|| Ok(answer::stored()), |partial| Err(Refusal::Partial(partial)))
    }

    async fn senml(&self, head: &Parts, body: &Bytes) -> Result<Answer, Refusal> {
        let rows = read_senml(body, encoding(head).ok_or(Refusal::UnknownType)?).map_err(|error| {
            self.rows.bad(&error);
            Refusal::Pack(error.to_string())
        })?;
        self.store(rows).await.map(|()| answer::stored())
    }

    /// Returns when all rows are durable.
    async fn store(&self, rows: impl IntoIterator<Item = Row>) -> Result<(), Refusal> {
        match timeout(STORED_WITHIN, self.rows.store(rows)).await {
            Ok(stored) => stored.map_err(Refusal::NotStored),
            Err(_) => Err(Refusal::NotStoredWithin(STORED_WITHIN)),
        }
    }

    async fn room(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let bytes = u32::try_from(bytes.min(self.room_bytes));
        let bytes = bytes.map_err(|_| Refusal::TooLarge(self.body_bytes_max))?;
        match timeout(ROOM_WITHIN, self.room.acquire_many(bytes)).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(Refusal::Busy),
        }
    }
}

/// The first of this name in the query.
fn parameter<'a>(head: &'a Parts, name: &str) -> Option<Cow<'a, str>> {
    let query = head.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}

fn encoding(head: &Parts) -> Option<Encoding> {
    encoding_of(head.headers.get(CONTENT_TYPE)?.to_str().ok()?)
}
