//! The buffer: batches on disk until a hub has them.
//!
//! One LMDB environment with one unnamed database (`environment`), whose values are entries (`entry`) and one
//! counter record (`state`). One thread writes (`writer`), packing what waits into one commit (`attempt`, `work`);
//! where there is no room, something gives way (`policy`, `give_up`, `age`).
//! Anyone reads (`reader`). A marker file says what must be in it (`marker`); opening checks it first where the
//! last stop was not clean (`guard`), and takes what can be saved where it is damaged (`salvage`).

mod age;
mod amend;
mod append;
mod attempt;
mod entry;
mod environment;
mod give_up;
mod guard;
mod handle;
mod marker;
mod opening;
mod policy;
mod reader;
mod relaxed;
mod repair;
mod rescue;
mod salvage;
mod scan;
mod stage;
mod state;
mod structure;
mod trim;
mod walk;
mod wear;
mod work;
mod writer;

pub use append::Marks;
pub use environment::{DATA_FILE, Durability};
pub use guard::{Checked, DAMAGED_EXIT, check_in_this_process};
pub use handle::{Appended, Buffer, BufferOptions, LaneView, Snapshot, WriteError, durable};
pub use opening::OpenError;
pub use policy::{Caps, Policy, Retention};
pub use reader::{Content, Item, ReadError, Reader};
pub use stage::Stage;
pub use state::{BootOffset, Counters, NUMBER_STEP, Placement};
pub use wear::WearBudget;
pub use work::{Amendment, GapAnswer, WorkError};
