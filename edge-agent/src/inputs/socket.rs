//! Lines on a Unix socket, from several clients at a time. There is no answer: what a client has written when it
//! closes is taken, and made durable as batches linger.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::async_lines::AsyncLines;
use super::feed::{FeedEnd, LineFeed};
use super::lines::Line;
use super::listener::{Listener, Stream};
use super::sink::RowSink;
use super::{Input, InputError, Running};
use crate::config::{FormatConfig, SocketConfig};
use crate::limits::SOCKET_CLIENTS_MAX;

/// An input that is to end reads on until a client has written nothing for this long.
const QUIET: Duration = Duration::from_millis(100);
/// But for no longer than this.
const DRAIN_MAX: Duration = Duration::from_secs(3);

pub struct SocketInput {
    config: SocketConfig,
}

impl SocketInput {
    pub fn new(config: SocketConfig) -> Self {
        Self { config }
    }
}

impl Input for SocketInput {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let Some(listener) = Listener::bind(&self.config.listen, &rows)? else { return Ok(()) };
            let format = Arc::new(self.config.format);
            let serve = |stream| serve(stream, format.clone(), rows.clone(), stop.clone());
            listener.serve(SOCKET_CLIENTS_MAX, &stop, serve).await;
            Ok(())
        })
    }
}

async fn serve(stream: Stream, format: Arc<FormatConfig>, rows: RowSink, stop: CancellationToken) {
    let too_late = async {
        stop.cancelled().await;
        sleep(DRAIN_MAX).await;
    };
    let ended = tokio::select! {
        ended = read(stream, &format, &rows, &stop) => ended,
        () = too_late => Ok(()),
    };
    if let Err(FeedEnd::Failed(error)) = ended {
        rows.bad(&format_args!("a client is left: {error}"));
    }
}

async fn read(
    stream: Stream,
    format: &FormatConfig,
    rows: &RowSink,
    stop: &CancellationToken,
) -> Result<(), FeedEnd> {
    let mut feed = LineFeed::new(format, rows.clone());
    let mut lines = AsyncLines::new(stream);
    loop {
        let number = lines.number + 1;
        let mut next = pin!(lines.next_line());
        let line = tokio::select! {
            line = &mut next => line,
            () = stop.cancelled() => match timeout(QUIET, next).await {
                Ok(line) => line,
                Err(_) => return Ok(()),
            },
        };
        match line.map_err(InputError::new).map_err(FeedEnd::Failed)? {
            Some(Line::Text(text)) => feed.line(number, text, None).await?,
            Some(Line::TooLong) => feed.too_long(number),
            None => return Ok(()),
        }
    }
}
