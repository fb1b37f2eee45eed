//! The transport between hubs: one connection for a pair of hubs, with everything that all groups have to say to each
//! other on it.

mod config;
mod error;
mod handle;
mod info;
mod limits;
mod observe;
mod parcel;
mod reply;

pub use config::{Config, Limits};
pub use error::{BindError, RequestError};
pub use handle::{ChangeHandler, NoticeHandler, ParcelHandler, Peers, RequestHandler};
pub use info::{Change, PeerInfo, SeedState, SeedStatus, Stats};
pub use limits::{MESSAGE_BYTES_MAX, NOTICE_BYTES_MAX, REQUEST_BYTES_MAX};
pub use observe::describe;
pub use parcel::{Parcel, ParcelBody};
pub use reply::Reply;
