//! The greetings at the beginning of a connection.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    limits::HANDSHAKE_TIME_MAX,
    wire::{GREETING_HEADER_BYTES, Greeting, GreetingError, GreetingHeader},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Greeting(#[from] GreetingError),
    #[error("it does not say hello")]
    Time,
}

impl GreetError {
    /// The other side ended the connection before it said anything.
    pub fn is_end(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let ends = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
        matches!(self, Self::Io(error) if ends.contains(&error.kind()))
    }
}

/// What the other side says first; not one byte beyond it is read.
pub(crate) async fn hear(stream: &mut TcpStream) -> Result<Greeting, GreetError> {
    let hearing = async {
        let mut header = [0; GREETING_HEADER_BYTES];
        stream.read_exact(&mut header).await?;
        let header = GreetingHeader::decode(header)?;
        let mut body = vec![0; header.body_bytes];
        stream.read_exact(&mut body).await?;
        Ok(Greeting::decode(header, &body)?)
    };
    timeout(HANDSHAKE_TIME_MAX, hearing).await.unwrap_or(Err(GreetError::Time))
}

pub(crate) async fn say(stream: &mut TcpStream, greeting: &Greeting) -> Result<(), GreetError> {
    let bytes = greeting.encode();
    let saying = stream.write_all(&bytes);
    timeout(HANDSHAKE_TIME_MAX, saying).await.map_err(|_| GreetError::Time)??;
    Ok(())
}
