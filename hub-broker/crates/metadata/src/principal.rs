//! Who asks. Every request to `ingest`, `fetch`, `groups` and the metadata names its principal; authorisation
//! and quotas hook in where these crates receive it.

use std::fmt;
use std::sync::Arc;

/// Whoever stands behind a request: a tenant and a name in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    pub tenant: Arc<str>,
    pub name: Arc<str>,
}

/// The tenant of a cluster that has only one.
const DEFAULT_TENANT: &str = "default";
/// The tenant of the hub itself. No listener authenticates anybody into it.
const HUB_TENANT: &str = "__hub";

impl Principal {
    #[must_use]
    pub fn new(tenant: &str, name: &str) -> Self {
        Self { tenant: tenant.into(), name: name.into() }
    }

    /// A client that did not say who it is.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(DEFAULT_TENANT, "anonymous")
    }

    /// A client that has proved its name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::new(DEFAULT_TENANT, name)
    }

    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        *self == Self::anonymous()
    }

    /// The hub itself: the only one that may create or write internal topics.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(HUB_TENANT, "hub")
    }

    #[must_use]
    pub fn is_internal(&self) -> bool {
        &*self.tenant == HUB_TENANT
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}
