//! The buffer: batches on disk until a hub has them.
//!
//! One LMDB environment with one unnamed database (`environment`), whose values are entries (`entry`) and one
//! counter record (`state`). One thread writes (`writer`), packing what waits into one commit (`work`).
//! Anyone reads (`reader`). A marker file says what must be in it (`marker`); opening checks it first where the
//! last stop was not clean (`guard`), and takes what can be saved where it is damaged (`salvage`).

mod amend;
mod append;
mod entry;
mod environment;
mod give_up;
mod guard;
mod handle;
mod marker;
mod opening;
mod policy;
mod reader;
mod repair;
mod salvage;
mod state;
mod trim;
mod walk;
mod work;
mod writer;

pub use environment::Sync;
pub use guard::{Checked, DAMAGED_EXIT, check_in_this_process};
pub use handle::{Appended, Buffer, BufferOptions, LaneView, Snapshot, WriteError, durable};
pub use opening::OpenError;
pub use policy::{Caps, Policy, Retention};
pub use reader::{Content, Item, ReadError, Reader};
pub use state::{Counters, NUMBER_STEP, Placement};
pub use work::{Amendment, GapAnswer};
