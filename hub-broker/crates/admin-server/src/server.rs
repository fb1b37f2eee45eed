//! The listener and its routes.

use std::io;
use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metadata::Metadata;
use metadata::limits::METADATA_GROUP;
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::known::Known;
use crate::observe;
use crate::readiness::Readiness;
use crate::topics;

#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
}

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("HTTP listener {listen}: {source}")]
pub struct BindError {
    pub listen: SocketAddr,
    pub source: io::Error,
}

#[derive(Clone)]
struct Shared {
    known: Known,
    readiness: Readiness,
    prometheus: PrometheusHandle,
}

pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// # Errors
    /// Where the address cannot be had.
    pub async fn bind(
        config: &Config,
        known: Known,
        readiness: Readiness,
        prometheus: PrometheusHandle,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { listen: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(rendered))
            .route("/api/v1/topics", get(all_topics))
            .route("/api/v1/cluster", get(cluster))
            .with_state(Shared { known, readiness, prometheus });
        Ok(Self { listener, address, router })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`, then finishes the answers under way.
    ///
    /// # Errors
    /// Where the listener breaks.
    pub async fn run(self, shutdown: CancellationToken) -> io::Result<()> {
        axum::serve(self.listener, self.router).with_graceful_shutdown(shutdown.cancelled_owned()).await
    }
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.readiness.check().and_then(|()| shared.check_leader()) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

impl Shared {
    /// Without somebody who leads the metadata most of what clients ask for cannot be had.
    fn check_leader(&self) -> Result<(), String> {
        let Some(metadata) = self.known.metadata() else { return Ok(()) };
        let shards = metadata.shards();
        let peers = shards.peers();
        if shards.metadata_leader().is_some_and(|leader| peers.reaches(leader.node)) {
            return Ok(());
        }
        Err(match metadata.no_majority(METADATA_GROUP) {
            Some(cause) => format!("the cluster has no leader: {cause}"),
            None => "the cluster has no leader now".to_owned(),
        })
    }

    /// The metadata, or the answer while there is none.
    fn metadata(&self) -> Result<Metadata, Unready> {
        let why = || self.readiness.check().err().unwrap_or_else(|| "starting".to_owned());
        self.known
            .metadata()
            .cloned()
            .ok_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", why())))
    }
}

/// 503, and why.
type Unready = (StatusCode, String);

async fn all_topics(State(shared): State<Shared>) -> Result<impl IntoResponse, Unready> {
    Ok(Json(topics::all(&shared.metadata()?)))
}

async fn cluster(State(shared): State<Shared>) -> Result<impl IntoResponse, Unready> {
    let status = shared.metadata()?.cluster_status().await;
    status.map(Json).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))
}

async fn rendered(State(shared): State<Shared>) -> impl IntoResponse {
    let rendering = tokio::task::spawn_blocking(move || {
        if let Some(metadata) = shared.known.metadata() {
            observe::look(metadata);
        }
        observe::look_at_process();
        shared.prometheus.render()
    });
    let text = rendering.await.map_err(|_panicked| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok::<_, StatusCode>(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
