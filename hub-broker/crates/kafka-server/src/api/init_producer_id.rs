//! InitProducerId: ids for idempotent producers (KIP-98). There are no transactions.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::wire::{Field, Shape, all, since};

pub(crate) struct InitProducerId;

impl Control for InitProducerId {
    type Request = InitProducerIdRequest;

    const VERSIONS: Versions = Versions::new(0, 5);
    const SHAPE: &'static [Field] =
        &[all(Shape::String), all(Shape::Int32), since(3, Shape::Int64), since(3, Shape::Int16)];

    async fn handle(
        session: &Session,
        head: &Head,
        request: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        let refused = |code| {
            InitProducerIdResponse::default()
                .with_error_code(code)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1)
        };
        if request.transactional_id.is_some() {
            return refused(errors::no_transactions(head));
        }
        // A producer that wants its epoch raised (KIP-360) gets a new id instead: that fences nobody, but
        // nobody shares an idempotent producer's id either.
        match session.context.metadata.next_producer_id().await {
            Ok(id) => {
                InitProducerIdResponse::default().with_producer_id(ProducerId(id.0)).with_producer_epoch(0)
            }
            Err(error) => refused(errors::code(head, &error)),
        }
    }
}
