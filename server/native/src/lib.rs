//! The wire of Shoal outside the GIL: gRPC over HTTP/2 and TLS, handed to Python in lists of calls.
//!
//! `server` is what all connections share, `listener` accepts them, `connection` turns frames into calls and answers
//! into frames. What Python is to hear goes by `inbox`, what it says comes by `hub`; `python` is the module it imports.
#![cfg_attr(clippy, deny(warnings))]
#![warn(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(not(feature = "python"), allow(dead_code))]

mod body;
mod call;
mod client;
mod connection;
mod fair;
mod gathered;
mod generator;
mod greeting;
mod hold;
mod hub;
mod inbox;
mod listener;
mod load;
mod lookout;
mod message;
mod metadata;
mod oip;
mod options;
mod pacer;
#[cfg(feature = "python")]
mod python;
mod raising;
mod register;
mod server;
mod signal;
mod socket;
mod statistics;
mod status;
mod stream;
mod timeout;
mod tls;
