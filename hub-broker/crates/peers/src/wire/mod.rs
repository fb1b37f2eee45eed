//! The bytes between two hubs. The layout stands at the head of the crate.

mod fields;
mod frame;
mod hello;
mod payload;

pub(crate) use frame::{FIRST, FRAME_HEADER_BYTES, FrameHeader, Kind, LAST, ProtocolError};
pub(crate) use hello::{
    GREETING_HEADER_BYTES, Greeting, GreetingError, GreetingHeader, Hello, Reason, Refusal, Versions,
};
pub(crate) use payload::{
    AnswerHead, MessageHead, RequestHead, Status, beats, cluster, goodbye, messages, put_beat, put_goodbye,
    put_message,
};
