//! Measures the house: sizes of files and functions, directions of dependencies, and whether the paths
//! that the documents name are there. The rules themselves are in `tests/`.

pub mod crates;
pub mod documents;
pub mod modules;
pub mod sizes;
pub mod sources;
