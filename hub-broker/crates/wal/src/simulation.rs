//! The log in one thread and from a seed: the same core, keeper, recovery and reader as in the program, on a disk in
//! memory that loses, tears and changes what it is told to.

mod disk;
mod frames;
mod mischief;
mod run;
#[cfg(test)]
mod tests;

pub use disk::SimDisk;
pub use frames::nothing_gave_way;
pub use run::{Opened, Run, open, read_past_damage, write_new};
