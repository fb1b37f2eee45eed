//! Group 0's state machine: the catalog behind the shards' trait.

use bytes::Bytes;
use shards::{AppliedAt, RestoreError, StateMachine, UnknownCommand};

use crate::catalog::Catalog;
use crate::command::Command;
use crate::response;
use crate::view::ViewSource;
use crate::wire::DecodeError;

/// Applies the metadata's commands and publishes each new view. Its state depends on nothing but the commands;
/// the view is an outcome that it never reads back.
pub struct MetadataMachine {
    catalog: Catalog,
    views: ViewSource,
}

impl MetadataMachine {
    pub(crate) fn new() -> (Self, ViewSource) {
        let views = ViewSource::new();
        (Self { catalog: Catalog::default(), views: views.clone() }, views)
    }
}

impl StateMachine for MetadataMachine {
    fn apply(&mut self, _at: AppliedAt, command: &Bytes) -> Result<Bytes, UnknownCommand> {
        let command = Command::decode(command).map_err(|error| unknown(&error, command))?;
        let before = self.catalog.version();
        let answer = self.catalog.apply(command);
        if self.catalog.version() != before {
            self.views.publish(self.catalog.view());
        }
        Ok(response::encode(answer).into())
    }

    fn snapshot(&self) -> Bytes {
        self.catalog.encode().into()
    }

    fn restore(&mut self, snapshot: &Bytes) -> Result<(), RestoreError> {
        self.catalog = Catalog::decode(snapshot).map_err(|error| unreadable(&error))?;
        self.views.publish(self.catalog.view());
        Ok(())
    }
}

fn unknown(error: &DecodeError, command: &[u8]) -> UnknownCommand {
    tracing::error!(%error, "the metadata met a command that this release does not know");
    UnknownCommand(command.first().copied().unwrap_or_default())
}

fn unreadable(error: &DecodeError) -> RestoreError {
    tracing::error!(%error, "the metadata's snapshot cannot be read");
    match error {
        DecodeError::Version { .. } => RestoreError("written by a newer release"),
        _ => RestoreError("not what was written"),
    }
}
