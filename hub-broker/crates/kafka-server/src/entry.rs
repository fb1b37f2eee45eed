//! An API's line in the table of what is offered.

use std::sync::Arc;

use crate::answer::{Head, Pending, RequestError};
use crate::session::Session;
use crate::wire::Reader;

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

impl Versions {
    pub(crate) const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    pub(crate) fn contains(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// What the table says about an API.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) key: i16,
    pub(crate) versions: Versions,
    /// The version of the request header for a version of the API; from 2 on it has tagged fields.
    pub(crate) request_header: fn(i16) -> i16,
    /// Likewise for the response header, from 1 on.
    pub(crate) response_header: fn(i16) -> i16,
    pub(crate) begin: fn(&Arc<Session>, Head, Reader) -> Result<Pending, RequestError>,
}

impl Entry {
    pub(crate) fn is_flexible(&self, version: i16) -> bool {
        (self.request_header)(version) >= 2
    }
}
