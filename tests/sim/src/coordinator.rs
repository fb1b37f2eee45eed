//! Someone who lives beside a leader, as a group's coordinator does: it begins once the lead is confirmed, with
//! everything that was acknowledged by then, and writes in that term alone.

use crate::client::Client;
use crate::question::{Confirmed, Question};

pub struct Coordinator {
    pub client: Client,
    pub question: Question,
}

impl Coordinator {
    pub fn new(client: Client) -> Self {
        Self { client, question: Question::default() }
    }

    /// The leader has answered: it begins there.
    pub fn answer(&mut self) -> Option<Confirmed> {
        let confirmed = self.question.answer()?;
        (self.client.leader, self.client.term) = (confirmed.node, Some(confirmed.term));
        Some(confirmed)
    }
}
