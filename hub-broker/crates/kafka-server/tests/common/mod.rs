//! A hub's Kafka front on a free port over a real data directory, and a client made of kafka-protocol.

#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fetch::Fetch;
use groups::Groups;
use ingest::Ingest;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use kafka_server::{Config, Reserved, Server};
use metadata::Metadata;
use shards::Shards;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub struct Hub {
    pub address: SocketAddr,
    pub metadata: Metadata,
    shards: Shards,
    groups: Groups,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    _dir: TempDir,
}

impl Hub {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (machine, views) = Metadata::state_machine();
        let shards = Shards::start_alone(shards::Config::new(dir.path()), Box::new(machine)).unwrap();
        let this = metadata::Hub::new(shards.identity().node, shards.identity().incarnation);
        let metadata =
            Metadata::start(shards.clone(), views, metadata::Config::default(), this).await.unwrap();
        let groups = Groups::start(metadata.clone(), groups::Config::default()).unwrap();
        let fetch = Fetch::new(metadata.clone(), fetch::Config::default()).unwrap();
        let ingest = Ingest::new(metadata.clone(), ingest::Config::default());
        let config = Config::new("127.0.0.1:0".parse().unwrap());
        let reserved = Reserved::take(&config).unwrap();
        let server = Server::open(reserved, config, ingest, fetch, groups.clone(), metadata.clone()).unwrap();
        let (address, stop) = (server.local_addr(), CancellationToken::new());
        let served = tokio::spawn(server.run(stop.clone()));
        Self { address, metadata, shards, groups, stop, served, _dir: dir }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap();
        self.groups.stop();
        self.metadata.stop();
        self.shards.shutdown().await;
    }
}

pub struct Client {
    pub socket: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(address).await.unwrap(), correlation_id: 0 }
    }

    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version).await;
        self.receive::<R>(version, sent).await
    }

    /// Sends without waiting for the answer; gives the correlation id.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.correlation_id += 1;
        let mut bytes = BytesMut::new();
        bytes.put_i32(0);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        header.encode(&mut bytes, R::header_version(version)).unwrap();
        request.encode(&mut bytes, version).unwrap();
        let len = u32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        self.socket.write_all(&bytes).await.unwrap();
        self.correlation_id
    }

    pub async fn receive<R: Request>(&mut self, version: i16, sent: i32) -> R::Response {
        let mut bytes = self.frame().await.expect("the hub closed the connection");
        let header_version = ApiKey::try_from(R::KEY).unwrap().response_header_version(version);
        let header = ResponseHeader::decode(&mut bytes, header_version).unwrap();
        assert_eq!(header.correlation_id, sent, "answers come in the order of their requests");
        let response = R::Response::decode(&mut bytes, version).unwrap();
        assert!(!bytes.has_remaining(), "version {version} leaves {} bytes", bytes.remaining());
        response
    }

    /// `None` when the hub has closed the connection.
    pub async fn frame(&mut self) -> Option<Bytes> {
        let len = self.socket.read_u32().await.ok()?;
        let mut bytes = vec![0; len as usize];
        self.socket.read_exact(&mut bytes).await.ok()?;
        Some(Bytes::from(bytes))
    }
}
