//! What passes between the fleet's owner and the device: its desired state and commands in, answers out.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::limits::{INBOUND_MAX, LETTERS_MAX};

/// What came for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    pub kind: InboundKind,
    pub payload: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundKind {
    /// How the device is to be set; the newest counts.
    Desired,
    Command,
}

/// An answer of the device. It is kept until the hub has taken it, or the agent ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound(pub Bytes);

/// The uplink's end.
#[derive(Debug)]
pub struct Mailbox {
    /// What is subscribed to.
    pub(super) kinds: Vec<InboundKind>,
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) outbound: mpsc::Receiver<Outbound>,
    pub(super) told: mpsc::Sender<Outbound>,
}

impl Mailbox {
    /// Takes these alone.
    #[must_use]
    pub fn of(self, kinds: Vec<InboundKind>) -> Self {
        Self { kinds, ..self }
    }
}

/// The end of whoever obeys and answers.
#[derive(Debug)]
pub struct Desk {
    pub inbound: mpsc::Receiver<Inbound>,
    pub outbound: mpsc::Sender<Outbound>,
    /// Answers that the hub has.
    pub told: mpsc::Receiver<Outbound>,
}

/// Both ends. An uplink that was given one subscribes to what is addressed to its device; the hub is told that
/// something has arrived once it is in the channel.
pub fn mailbox() -> (Mailbox, Desk) {
    let (inbound_sender, inbound) = mpsc::channel(INBOUND_MAX);
    let (outbound, outbound_receiver) = mpsc::channel(INBOUND_MAX);
    let (told_sender, told) = mpsc::channel(LETTERS_MAX);
    let kinds = vec![InboundKind::Desired, InboundKind::Command];
    let mailbox = Mailbox { kinds, inbound: inbound_sender, outbound: outbound_receiver, told: told_sender };
    (mailbox, Desk { inbound, outbound, told })
}
