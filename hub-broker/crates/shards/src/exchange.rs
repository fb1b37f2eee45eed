//! What replicas ask those of other hubs, on its way there, and what theirs ask on its way to the executors: whether they
//! have the same, and leave to be given up.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use peers::Reply;
use schemas::NodeId;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::compare::{Question, Verdict, wire};
use crate::doors::Doors;
use crate::leave::{self, Answer, Plea};
use crate::limits::{COMPARE_ANSWER_MAX, QUESTIONS_MAX};
use crate::message::Message;

/// What a replica asks another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Compare(Question),
    Leave(Plea),
}

/// Where the executors put their questions. What finds no room is asked again.
#[derive(Clone)]
pub(crate) struct Exchange {
    questions: Sender<Asked>,
}

impl Exchange {
    pub(crate) fn new() -> (Self, Receiver<Asked>) {
        let (questions, asked) = channel(QUESTIONS_MAX);
        (Self { questions }, asked)
    }

    pub(crate) fn ask(&self, question: Asked) {
        // A hub without others asks nobody, and one that stops need not know.
        let _ = self.questions.try_send(question);
    }
}

/// Asks and answers from now on.
pub(crate) fn connect(doors: &Arc<Doors>, asked: Receiver<Asked>) {
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
    let held = Arc::downgrade(doors);
    doors.shared.peers.serve(
        leave::LEAVE,
        Arc::new(move |from, body, reply| {
            if let Some(doors) = held.upgrade() {
                answer_plea(&doors, from, body, reply);
            }
        }),
    );
    doors.spawn(ask_all(asked, Arc::downgrade(doors)));
}

/// One after the other: there is time, and what is asked is large where there are many partitions.
async fn ask_all(mut asked: Receiver<Asked>, doors: Weak<Doors>) {
    while let Some(asked) = asked.recv().await {
        let Some(doors) = doors.upgrade() else { return };
        match asked {
            Asked::Compare(question) => ask(&doors, &question).await,
            Asked::Leave(plea) => plead(&doors, plea).await,
        }
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

async fn plead(doors: &Doors, plea: Plea) {
    let node = NodeId(plea.leader.node());
    let answer = doors.shared.peers.request(node, leave::LEAVE, plea.encode(), COMPARE_ANSWER_MAX).await;
    if let Ok(answer) = answer
        && let Some(place) = doors.place_of_group(plea.group)
    {
        let answer = Answer::decode(&answer);
        doors.send(place, Message::PleaAnswered { slot: place.slot, plea, answer });
    }
}

fn answer_plea(doors: &Doors, from: NodeId, body: Bytes, reply: Reply) {
    let plea = Plea::decode(body).filter(|plea| plea.replica.node() == from.0);
    match plea.and_then(|plea| Some((doors.place_of_group(plea.group)?, plea))) {
        Some((place, plea)) => {
            let done = Box::new(move |answer: Answer| reply.ok(answer.encode()));
            doors.send(place, Message::Plead { slot: place.slot, plea, done });
        }
        None => reply.ok(Answer::Stay.encode()),
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
