//! The transport between hubs: one TCP connection for a pair of hubs, with everything that all groups have to say to
//! each other on it.
//!
//! It knows hubs, groups and bytes; it knows no consensus protocol, no shard and no record.
//!
//! - **Parcels** ([`Peers::send`]) are what replicas say: beats and messages. They are never waited for: what finds no
//!   connection or no room is dropped, and consensus says it again.
//! - **Notices** ([`Peers::notify`]) are states, of which only the newest counts; who connects hears them again.
//! - **Requests** ([`Peers::request`], [`Peers::serve`]) are answered or fail within their time.
//!
//! Parcels and notices flow between hubs of the same cluster only, and only with the incarnation of a hub that the
//! cluster means by its node id ([`Peers::mean`]); requests between any two that are connected, so that hubs can form a
//! cluster and join one.
//!
//! # Order and bounds
//!
//! What waits for a peer lies in lanes. Every write takes what is *urgent* first (beats, messages of up to 4 KiB,
//! notices, pings), then chunks of up to 64 KiB of large *messages* and of *bulk* (requests and answers) in turn, up to
//! 128 KiB; little lies in the kernel. So a message of 16 MiB delays a beat by no more than a few chunks. Messages of
//! one group keep their order: a small one waits behind a large one of its group. Requests of one kind keep theirs, as
//! do answers; the kinds take turns. Each lane is bounded in bytes ([`Limits`]), requests without an answer in number.
//! A message is at most a little over 20 MiB long, the body of a request or an answer 20 MiB.
//!
//! # Connections
//!
//! Every hub dials the seeds and every address that it is told of while it has no connection with that hub. When both
//! dial at once, the connection dialled by the hub with the lower node id counts. A hub that was restarted (another
//! *session*) takes the place of its former connection; another *incarnation* of a node that is connected is refused
//! unless it is the one that is meant, as are hubs of another cluster, with the own node id, another number of shards,
//! or no common version. Each side logs the reason, once. Where it is known which one is meant, the other may stay beside
//! it and ask, so that it learns whose the node id is; it counts as not connected. A connection on which nothing was
//! sent for 500 ms gets a ping; one that is silent for 3 s is closed. When the other side ends a connection, its address
//! is dialled at once: if nobody listens there, the process is *gone*. Nothing of an older connection is handed over
//! behind something of a newer.
//!
//! # Format, version 1
//!
//! All integers are little-endian; texts are UTF-8 behind their length in two bytes.
//!
//! A connection begins with one *greeting* from each side, the dialler first. A refusal ends it. The layout of the header
//! and of the fields below is the same in all versions; a later one adds fields behind them. Both then speak the
//! highest version that both know.
//!
//! ```text
//! 0   4  magic "HWPR"
//! 4   1  1 hello, 2 refusal
//! 5   1  lowest version that the sender speaks
//! 6   1  highest version
//! 7   1  0
//! 8   4  length of the body, at most 1024
//! 12  4  CRC-32C of bytes 0..12 and the body
//! 16     body
//!
//! hello:    node id u32, incarnation 16 bytes, session u64, shards u16, 1 if part of a cluster u8, cluster 16 bytes,
//!           advertised `host:port` text
//! refusal:  reason u8 (1 version, 2 other cluster, 3 same node id, 4 other incarnation, 5 shards, 6 connected already,
//!           7 this hub itself, 8 stopping, 9 removed), node id of the sender u32, text
//! ```
//!
//! Then frames, in both directions:
//!
//! ```text
//! 0   4  CRC-32C of bytes 4.. and the payload
//! 4   4  length of the payload, at most 65536
//! 8   1  kind
//! 9   1  1 first chunk of its body, 2 last chunk (kinds 3, 4, 5; else 0)
//! 10  1  channel: the kind of a request, answer or notice (kinds 4, 5, 6; else 0)
//! 11  1  0
//! 12     payload
//!
//! 1 beats     each: group u32, from u64, to u64, term u64, commit u64, 1 if an answer u8, length of the context u8,
//!             context
//! 2 messages  each: group u32, from u64, to u64, length u32, body
//! 3 message   first chunk: group u32, from u64, to u64, length of the whole body u32, bytes; further ones: bytes.
//!             One message at a time.
//! 4 request   first chunk: id u64, length of the whole body u32, bytes; further ones: bytes. One at a time on a channel,
//!             at most four channels of kinds 4 and 5 together with an unfinished body.
//! 5 answer    first chunk: id of the request u64, status u8 (0 done, 1 refused, 2 unknown kind, 3 overloaded, 4 no
//!             answer), length of the whole body u32, bytes; further ones: bytes
//! 6 notice    body, at most 49152
//! 7 ping      nothing
//! 8 cluster   16 bytes: the sender has become part of this cluster
//! 9 goodbye   reason u8 as above, text; the sender closes the connection
//! ```
//!
//! A frame that is damaged, unknown, too long or out of order ends the connection.

mod accept;
mod asides;
mod complaints;
mod config;
mod connect;
mod dial;
mod error;
mod greet;
mod handle;
mod handlers;
mod incoming;
mod info;
mod judge;
mod lanes;
mod limits;
mod link;
mod looks;
mod network;
mod observe;
mod outlet;
mod parcel;
mod peer;
mod reply;
mod requests;
mod retained;
mod run;
mod seeds;
#[cfg(test)]
mod tests;
mod wire;

pub use config::{Config, Limits};
pub use error::{BindError, RequestError};
pub use handle::Peers;
pub use handlers::{ChangeHandler, NoticeHandler, ParcelHandler, RequestHandler};
pub use info::{Change, PeerInfo, SeedState, SeedStatus, Stats};
pub use limits::{MESSAGE_BYTES_MAX, NOTICE_BYTES_MAX, REQUEST_BYTES_MAX};
pub use observe::describe;
pub use parcel::{Parcel, ParcelBody};
pub use reply::Reply;
