//! DescribeCluster (KIP-700).

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::hubs;
use crate::session::Session;
use crate::topics::{OPERATIONS_NOT_ASKED, text};
use crate::wire::{Field, Shape, all, since};

pub(crate) struct DescribeCluster;

/// KIP-919: 1 asks for the brokers, 2 for the controllers of a KRaft cluster.
const BROKERS: i8 = 1;

impl Control for DescribeCluster {
    type Request = DescribeClusterRequest;

    const VERSIONS: Versions = Versions::new(0, 1);
    const SHAPE: &'static [Field] = &[all(Shape::Int8), since(1, Shape::Int8), since(2, Shape::Int8)];

    async fn handle(
        session: &Session,
        head: &Head,
        request: DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        let answer = DescribeClusterResponse::default()
            .with_endpoint_type(BROKERS)
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED);
        if request.endpoint_type != BROKERS {
            return answer.with_error_code(errors::unsupported_endpoint(head));
        }
        let view = session.context.metadata.view();
        let brokers = hubs::list(session, &view).into_iter().map(|hub| {
            DescribeClusterBroker::default()
                .with_broker_id(hub.node.into())
                .with_host(text(hub.host))
                .with_port(hub.port)
                .with_rack(hub.rack.map(text))
        });
        answer
            .with_cluster_id(text(&view.cluster_id))
            .with_controller_id(hubs::wire_id(hubs::controller(session, &view)).into())
            .with_brokers(brokers.collect())
    }
}
