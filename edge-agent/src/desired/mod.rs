//! How the fleet's owner wants a device to be set: settings that come from a hub, lie over the device's own file, and are
//! tried before they are kept.
//!
//! `message` reads what came, `trial` decides (a state machine without clock, file or socket), `record` is what survives
//! a power cut, `verdict` what is told. What may be set at all is in `config::DesiredSettings`; `agent` does what is
//! decided.

mod message;
mod record;
mod trial;
mod verdict;

pub use message::{Desired, MessageError, Wanted};
pub use record::{Phase, Record, RecordError, Rejected, Trial};
pub use trial::{Action, Core, Event};
pub use verdict::{Standing, State, Verdict};
