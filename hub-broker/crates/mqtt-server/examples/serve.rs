//! A hub with nothing but the MQTT front, to try clients against: `serve DATA-DIR [ADDRESS]`.

use std::net::SocketAddr;

use ingest::Ingest;
use metadata::Metadata;
use mqtt_server::{Config, Server};
use shards::Shards;
use tokio_util::sync::CancellationToken;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut arguments = std::env::args().skip(1);
    let data_dir = arguments.next().ok_or("usage: serve DATA-DIR [ADDRESS]")?;
    let listen: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:1883").parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&data_dir, listen))
}

async fn serve(data_dir: &str, listen: SocketAddr) -> Result<(), AnyError> {
    let (machine, views) = Metadata::state_machine();
    let shards = Shards::start(shards::Config::new(data_dir), Box::new(machine))?;
    let metadata = Metadata::start(shards.clone(), views, metadata::Config::default()).await?;
    let ingest = Ingest::new(metadata.clone(), ingest::Config::default());
    let fetch = fetch::Fetch::new(metadata.clone(), fetch::Config::default())?;
    let server = Server::bind(Config::new(listen), ingest, fetch, metadata.clone()).await?;
    println!("listening on {}", server.local_addr()?);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(server.run(shutdown.clone()));
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.await?;
    metadata.stop();
    shards.shutdown().await;
    Ok(())
}
