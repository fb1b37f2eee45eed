//! Line protocol and SenML over HTTP/1.1, as InfluxDB's clients and Telegraf send it.
//!
//! | request | body |
//! |---|---|
//! | `POST /write` | line protocol; `precision` is n, u, ms, s, m or h |
//! | `POST /api/v2/write` | line protocol; `precision` is ns, us, ms or s |
//! | `POST /senml` | a pack of the type that `Content-Type` says |
//! | `GET /ping`, `GET /health` | |
//!
//! 204 means that every row is durable.

mod access;
mod answer;
mod body;
mod desk;
mod write;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use self::access::Tokens;
use self::desk::Desk;
use super::listener::{Listener, Stream};
use super::sink::RowSink;
use super::{Input, Running};
use crate::config::HttpConfig;

/// A request's head comes within this time; a connection without a request ends after it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// What of a connection is read ahead; a head may be no larger.
const READ_BYTES: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

pub struct HttpInput {
    config: HttpConfig,
}

impl HttpInput {
    pub fn new(config: HttpConfig) -> Self {
        Self { config }
    }
}

impl Input for HttpInput {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let tokens = self.config.token_file.as_deref().map(Tokens::read).transpose()?;
            let Some(listener) = Listener::bind(&self.config.listen, &rows)? else { return Ok(()) };
            let desk = Arc::new(Desk::new(rows, tokens, self.config.body_bytes_max));
            let serve = |stream| serve(stream, desk.clone(), stop.clone());
            listener.serve(self.config.connections_max, &stop, serve).await;
            Ok(())
        })
    }
}

/// One connection. Where the input is to end, the request that is being answered is the last.
async fn serve(stream: Stream, desk: Arc<Desk>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    http.max_buf_size(READ_BYTES).max_headers(HEADERS_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::destination::Destination;
    use crate::inputs::{Filter, Health, Source, queue};
    use crate::time::Clock;

    fn desk() -> Arc<Desk> {
        let destination = Destination::from(schemas::TopicName::try_from("t").unwrap());
        let (name, health) = ("http".to_owned(), Health::default());
        let source = Source { name, destination, tags: Vec::new(), health, is_trial: false };
        let clock = Arc::new(Clock::of_this_machine());
        let sink = RowSink::new(source, Filter::default(), clock, queue(1).0, Arc::default());
        Arc::new(Desk::new(sink, None, 1 << 10))
    }

    /// What a client that says this and no more is told until the connection ends.
    async fn told(said: &[u8]) -> String {
        let (mut client, server) = duplex(4096);
        let serving = tokio::spawn(serve(Box::new(server), desk(), CancellationToken::new()));
        // It may have said enough to be refused before its end.
        let _ = client.write_all(said).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        serving.await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_go_on_is_not_waited_for() {
        assert_eq!(told(b"").await, "");
        assert_eq!(told(b"POST /write HTTP/1.1\r\nHost: x\r\nX-Slow:").await, "");
        let slow = told(b"POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nm a").await;
        assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
        let head = format!("GET /ping HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
        let large = told(head.as_bytes()).await;
        assert!(large.starts_with("HTTP/1.1 431 "), "{large}");
    }
}
