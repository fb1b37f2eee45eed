//! The private API of the hub's own tools; see [`crate::cluster`] for its frames.

use std::sync::Arc;

use bytes::Bytes;
use metadata::{DrainError, RemoveHubError, Unavailable, UpgradeError, Upgraded};

use crate::answer::{Answer, Head, Pending, RequestError};
use crate::cluster::{API_KEY, Question, Reply, VERSION};
use crate::entry::{Entry, Versions};
use crate::limits::CLUSTER_QUESTION_BYTES_MAX;
use crate::session::Session;
use crate::wire::{Reader, WireError, Writer};

pub(super) const ENTRY: Entry = Entry {
    name: "Cluster",
    key: API_KEY,
    versions: Versions::new(VERSION, VERSION),
    request_header: |_| 1,
    response_header: |_| 0,
    begin,
};

fn begin(session: &Arc<Session>, head: Head, body: Reader) -> Result<Pending, RequestError> {
    let question = parse(body).map_err(|error| head.malformed(error))?;
    let session = Arc::clone(session);
    Ok(Pending::lazy(async move {
        let reply = reply(&session, question).await;
        match encode(&reply) {
            Some(body) => Ok(Answer::Response(head.respond(body))),
            None => Err(RequestError::Unencodable { api: head.api, version: head.version }),
        }
    }))
}

fn parse(mut body: Reader) -> Result<Question, WireError> {
    let json = body.nullable_bytes()?.ok_or(WireError::Null)?;
    body.finish()?;
    if json.len() > CLUSTER_QUESTION_BYTES_MAX {
        return Err(WireError::Length(i64::try_from(json.len()).unwrap_or(i64::MAX)));
    }
    serde_json::from_slice(&json).map_err(|_| WireError::Refused)
}

fn encode(reply: &Reply) -> Option<Vec<Bytes>> {
    let json = serde_json::to_vec(reply).ok()?;
    let mut body = Writer::new(false);
    body.bytes(vec![Bytes::from(json)]);
    Some(body.finish())
}

async fn reply(session: &Session, question: Question) -> Reply {
    let metadata = &session.context.metadata;
    match question {
        Question::Status => match metadata.cluster_status().await {
            Ok(status) => Reply::Status(Box::new(status)),
            Err(error) => refused(&error, true),
        },
        Question::Drain { node, draining } => match metadata.drain(node, draining).await {
            Ok(()) => Reply::Done,
            Err(error) => refused(&error, matches!(&error, DrainError::Unavailable(why) if passes(why))),
        },
        Question::Remove { node } => match metadata.remove(node).await {
            Ok(()) => Reply::Done,
            Err(error) => refused(&error, matches!(&error, RemoveHubError::Unavailable(why) if passes(why))),
        },
        Question::AcceptClock { node } => match metadata.accept_clock(node).await {
            Ok(()) => Reply::Done,
            Err(error) => refused(&error, false),
        },
        Question::Upgrade => match metadata.upgrade().await {
            Ok(Upgraded { from, to }) => Reply::Upgraded { from, to },
            Err(error) => {
                let passing = match &error {
                    UpgradeError::Changed => true,
                    UpgradeError::Unavailable(why) => passes(why),
                    _ => false,
                };
                refused(&error, passing)
            }
        },
    }
}

/// What the hub has waited for in vain does not come by being asked for again.
fn passes(why: &Unavailable) -> bool {
    !matches!(why, Unavailable::NoMajority(_))
}

fn refused(error: &dyn std::error::Error, retry: bool) -> Reply {
    Reply::Refused { message: error.to_string(), retry }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(json: &[u8]) -> Result<Question, WireError> {
        let mut frame = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(json);
        parse(Reader::new(Bytes::from(frame), false))
    }

    #[test]
    fn questions_are_read_as_they_are_documented() {
        assert_eq!(question(br#"{"ask":"status","later":1}"#), Ok(Question::Status));
        let drain = Question::Drain { node: schemas::NodeId(2), draining: true };
        assert_eq!(question(br#"{"ask":"drain","node":2,"draining":true}"#), Ok(drain));
        let remove = Question::Remove { node: schemas::NodeId(2) };
        assert_eq!(question(br#"{"ask":"remove","node":2}"#), Ok(remove));
        let accept = Question::AcceptClock { node: schemas::NodeId(2) };
        assert_eq!(question(br#"{"ask":"accept_clock","node":2}"#), Ok(accept));
        assert_eq!(question(br#"{"ask":"upgrade"}"#), Ok(Question::Upgrade));
    }

    #[test]
    fn replies_are_written_as_they_are_documented() {
        let refused = Reply::Refused { message: "no".to_owned(), retry: false };
        let body = encode(&refused).unwrap().concat();
        assert_eq!(body[..4], u32::try_from(body.len() - 4).unwrap().to_be_bytes());
        assert_eq!(&body[4..], br#"{"answer":"refused","message":"no","retry":false}"#);
        let body = encode(&Reply::Upgraded { from: 1, to: 2 }).unwrap().concat();
        assert_eq!(&body[4..], br#"{"answer":"upgraded","from":1,"to":2}"#);
    }

    #[test]
    fn what_is_no_question_is_refused() {
        assert_eq!(question(b"{}"), Err(WireError::Refused));
        assert_eq!(question(&[b'['; 1000]), Err(WireError::Refused));
        assert!(matches!(question(&[b' '; CLUSTER_QUESTION_BYTES_MAX + 1]), Err(WireError::Length(_))));
    }
}
