//! The questions by which replicas are compared, on their way to other hubs, and theirs on their way to the executors.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use peers::Reply;
use schemas::NodeId;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::compare::{Question, Verdict, wire};
use crate::doors::Doors;
use crate::limits::{COMPARE_ANSWER_MAX, QUESTIONS_MAX};
use crate::message::Message;

/// Where the executors put their questions. What finds no room is asked again.
#[derive(Clone)]
pub(crate) struct Exchange {
    questions: Sender<Question>,
}

impl Exchange {
    pub(crate) fn new() -> (Self, Receiver<Question>) {
        let (questions, asked) = channel(QUESTIONS_MAX);
        (Self { questions }, asked)
    }

    pub(crate) fn ask(&self, question: Question) {
        // A hub without others asks nobody, and one that stops need not know.
        let _ = self.questions.try_send(question);
    }
}

/// Asks and answers from now on.
pub(crate) fn connect(doors: &Arc<Doors>, asked: Receiver<Question>) {
    let held = Arc::downgrade(doors);
    doors.shared.peers.serve(
        wire::COMPARE,
        Arc::new(move |from, body, reply| {
            // Without the shards the reply is dropped: the peer hears that nobody answers.
            if let Some(doors) = held.upgrade() {
                answer(&doors, from, body, reply);
            }
        }),
    );
    doors.spawn(ask_all(asked, Arc::downgrade(doors)));
}

/// One after the other: there is time, and what is asked is large where there are many partitions.
async fn ask_all(mut asked: Receiver<Question>, doors: Weak<Doors>) {
    while let Some(question) = asked.recv().await {
        let Some(doors) = doors.upgrade() else { return };
        ask(&doors, &question).await;
    }
}

async fn ask(doors: &Doors, question: &Question) {
    let (node, body) = (NodeId(question.to.node()), wire::encode(question));
    let Ok(answer) = doors.shared.peers.request(node, wire::COMPARE, body, COMPARE_ANSWER_MAX).await else {
        return;
    };
    if let Some(verdict) = wire::decode_verdict(&answer)
        && let Some(place) = doors.place_of_group(question.group)
    {
        let (from, index) = (question.to, question.mark.index);
        doors.send(place, Message::Compared { slot: place.slot, from, index, verdict });
    }
}

fn answer(doors: &Doors, from: NodeId, body: Bytes, reply: Reply) {
    let fits =
        |question: &Question| question.from.node() == from.0 && question.to.node() == doors.identity.node.0;
    let question = wire::decode(body).filter(fits);
    match question.and_then(|question| Some((doors.place_of_group(question.group)?, question))) {
        Some((place, question)) => {
            let done = Box::new(move |verdict| reply.ok(wire::encode_verdict(verdict)));
            doors.send(place, Message::Compare { slot: place.slot, question: Box::new(question), done });
        }
        None => reply.ok(wire::encode_verdict(Verdict::Unknown)),
    }
}
