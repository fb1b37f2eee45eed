//! A Kafka client of one connection and one request at a time: enough for tools.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use kafka_server::cluster::{self, Question, Reply};
use thiserror::Error;

/// A hub that does not say its first word within this is stopped, or as good as that: another one is asked.
const FIRST_WORD_TIMEOUT: Duration = Duration::from_secs(3);
/// What only has to be looked up is answered within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for what the cluster has to agree on.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
const CLIENT_ID: &str = "hub-broker-tools";
/// The largest answer that is read; a fetch asks for far less.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("cannot reach a hub at {hub}: {source}; is it running? (hub-broker serve)")]
    Unreachable { hub: String, source: std::io::Error },
    #[error("{hub:?} is not HOST:PORT, like 127.0.0.1:9092")]
    Address { hub: String },
    #[error("{hub} ended the connection; is it a hub's Kafka listener, and is the hub running?")]
    Closed { hub: String },
    #[error("{hub} took the connection and did not answer within {} s; it may be stopped, or busy", within.as_secs())]
    Silent { hub: String, within: Duration },
    #[error("the connection to {hub} broke: {source}")]
    Broken { hub: String, source: std::io::Error },
    #[error("{hub} does not speak Kafka's protocol as expected: {what}")]
    Garbled { hub: String, what: String },
}

/// What the hub answered with an error code.
#[derive(Debug, Error)]
#[error("{what}: {}", in_words(*error, detail.as_deref()))]
pub struct Refused {
    pub what: String,
    pub error: ResponseError,
    pub detail: Option<String>,
}

/// The errors that people meet with these tools; the others go by Kafka's name.
fn in_words(error: ResponseError, detail: Option<&str>) -> String {
    let error = match error {
        ResponseError::UnknownTopicOrPartition => {
            "there is no such topic; `hub-broker topic list` shows those there are".to_owned()
        }
        ResponseError::TopicAlreadyExists => "the topic is there already".to_owned(),
        // Any hub takes commands: which one carries them out is none of the user's business.
        ResponseError::NotController => match detail {
            Some(detail) => return detail.to_owned(),
            None => "nobody leads the cluster's metadata now; try again in a moment".to_owned(),
        },
        other => other.to_string(),
    };
    match detail {
        Some(detail) => format!("{error} ({detail})"),
        None => error,
    }
}

/// Turns an error code into a `Refused`.
pub fn check(what: &str, code: i16, detail: Option<&StrBytes>) -> Result<(), Refused> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(Refused { what: what.to_owned(), error, detail: detail.map(ToString::to_string) }),
    }
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub struct Client {
    hub: String,
    stream: TcpStream,
    correlation_id: i32,
    /// How long the next answer may take.
    patience: Duration,
    /// A question was not answered: whatever comes now could be the answer to another.
    is_broken: bool,
}

impl Client {
    pub fn connect(hub: &str) -> Result<Self, ClientError> {
        let is_address =
            hub.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !is_address {
            return Err(ClientError::Address { hub: hub.to_owned() });
        }
        let stream = dial(hub).map_err(|source| ClientError::Unreachable { hub: hub.to_owned(), source })?;
        let patience = FIRST_WORD_TIMEOUT;
        let mut client = Self { hub: hub.to_owned(), stream, correlation_id: 0, patience, is_broken: false };
        client.call(&ApiVersionsRequest::default(), 0)?;
        client.patience = ANSWER_TIMEOUT;
        Ok(client)
    }

    /// Allows the time that an agreement takes, from now on.
    pub fn be_patient(&mut self) -> &mut Self {
        self.patience = CHANGE_TIMEOUT;
        self
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, ClientError> {
        self.correlation_id += 1;
        let frame = self.encoded(request, version)?;
        let mut answer = self.exchange(&frame)?;
        let header = R::Response::header_version(version);
        let garbled =
            |error: &dyn std::fmt::Display| self.garbled(format!("{:?}: {error}", ApiKey::try_from(R::KEY)));
        let header = ResponseHeader::decode(&mut answer, header).map_err(|error| garbled(&error))?;
        if header.correlation_id != self.correlation_id {
            return Err(garbled(&"an answer to another request"));
        }
        R::Response::decode(&mut answer, version).map_err(|error| garbled(&error))
    }

    /// Asks about the cluster, in the API that hubs have for this.
    pub fn ask(&mut self, question: &Question) -> Result<Reply, ClientError> {
        self.correlation_id += 1;
        let json = serde_json::to_vec(question).map_err(|error| self.garbled(error.to_string()))?;
        let mut body = BytesMut::new();
        body.put_i16(cluster::API_KEY);
        body.put_i16(cluster::VERSION);
        body.put_i32(self.correlation_id);
        body.put_i16(i16::try_from(CLIENT_ID.len()).unwrap_or(0));
        body.put_slice(CLIENT_ID.as_bytes());
        body.put_u32(u32::try_from(json.len()).unwrap_or(u32::MAX));
        body.put_slice(&json);
        let mut answer = self.exchange(&framed(&body))?;
        let (Ok(correlation_id), Ok(length)) = (answer.try_get_i32(), answer.try_get_u32()) else {
            return Err(self.garbled("an answer that ends too soon".to_owned()));
        };
        if correlation_id != self.correlation_id || length as usize != answer.len() {
            return Err(self.garbled("an answer to another request".to_owned()));
        }
        serde_json::from_slice(&answer).map_err(|error| self.garbled(error.to_string()))
    }

    /// Whether it can be asked another question.
    pub fn is_usable(&self) -> bool {
        !self.is_broken
    }

    fn exchange(&mut self, frame: &[u8]) -> Result<Bytes, ClientError> {
        self.is_broken = true;
        self.stream.set_read_timeout(Some(self.patience)).map_err(|source| self.broken(source))?;
        self.stream.write_all(frame).map_err(|source| self.broken(source))?;
        let answer = self.read_frame()?;
        self.is_broken = false;
        Ok(answer)
    }

    fn garbled(&self, what: String) -> ClientError {
        ClientError::Garbled { hub: self.hub.clone(), what }
    }

    fn encoded<R: Request>(&self, request: &R, version: i16) -> Result<Vec<u8>, ClientError> {
        let mut body = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
        encode_request_header_into_buffer(&mut body, &header)
            .and_then(|()| request.encode(&mut body, version))
            .map_err(|error| self.garbled(error.to_string()))?;
        Ok(framed(&body))
    }

    fn read_frame(&mut self) -> Result<Bytes, ClientError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|source| self.broken(source))?;
        let length = u32::from_be_bytes(length) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(self.garbled(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).map_err(|source| self.broken(source))?;
        Ok(answer.into())
    }

    fn broken(&self, source: std::io::Error) -> ClientError {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        let hub = self.hub.clone();
        match source.kind() {
            UnexpectedEof | ConnectionReset | BrokenPipe => ClientError::Closed { hub },
            WouldBlock | TimedOut => ClientError::Silent { hub, within: self.patience },
            _ => ClientError::Broken { hub, source },
        }
    }
}

/// Tries each address of the name.
fn dial(hub: &str) -> io::Result<TcpStream> {
    let mut outcome = Err(io::Error::other("the name has no address"));
    for address in hub.to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, FIRST_WORD_TIMEOUT);
        if outcome.is_ok() {
            break;
        }
    }
    let stream = outcome?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(FIRST_WORD_TIMEOUT))?;
    Ok(stream)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_hub_that_takes_connections_and_says_nothing_is_given_up_after_seconds() {
        // Nobody accepts: the system takes the connection, as it does for a process that is stopped.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let began = Instant::now();
        let error = Client::connect(&listener.local_addr().unwrap().to_string()).map(drop).unwrap_err();
        assert!(matches!(error, ClientError::Silent { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_the_metadata_does_not_take_is_told_in_its_own_words() {
        let refused = |detail: Option<&str>| {
            let detail = detail.map(|text| StrBytes::from_string(text.to_owned()));
            check("orders", ResponseError::NotController.code(), detail.as_ref()).unwrap_err().to_string()
        };
        assert_eq!(refused(Some("2 of 3 hubs are not reachable")), "orders: 2 of 3 hubs are not reachable");
        assert!(refused(None).contains("try again"));
        let detail = StrBytes::from_static_str("why");
        let other = check("orders", ResponseError::InvalidPartitions.code(), Some(&detail)).unwrap_err();
        assert!(other.to_string().ends_with("(why)"), "{other}");
    }
}
