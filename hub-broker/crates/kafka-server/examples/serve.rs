//! The Kafka front alone, for trying clients by hand: `cargo run -p kafka-server --example serve -- DIR ADDRESS`.

use fetch::Fetch;
use groups::Groups;
use ingest::Ingest;
use kafka_server::{Config, Server};
use metadata::Metadata;
use shards::Shards;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("which data directory?")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let (machine, views) = Metadata::state_machine();
    let shards = Shards::start(shards::Config::new(dir), Box::new(machine))?;
    let metadata = Metadata::start(shards.clone(), views, metadata::Config::default()).await?;
    let groups = Groups::start(metadata.clone(), groups::Config::default())?;
    let fetch = Fetch::new(metadata.clone(), fetch::Config::default())?;
    let ingest = Ingest::new(metadata.clone(), ingest::Config::default());
    let server = Server::bind(Config::new(address.parse()?), ingest, fetch, groups, metadata).await?;
    println!("listening on {}", server.local_addr());
    let stop = CancellationToken::new();
    let served = tokio::spawn(server.run(stop.clone()));
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    served.await?;
    shards.shutdown().await;
    Ok(())
}
