//! What the three programs share as programs: how settings and password files are read, how log lines
//! look, how output is printed, which signals end a run, which exit code says what, and what the kernel knows of its
//! clock.
//!
//! It knows nothing of records, hubs or agents.

pub mod clock;
pub mod logging;
pub mod outcome;
pub mod output;
pub mod passwords;
pub mod settings;
pub mod signals;

pub use outcome::Failure;
pub use settings::{Settings, SettingsError};
