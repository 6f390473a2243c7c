//! What a listener is made with, whole and checked.

use std::time::Duration;

/// Bounds and times of one listener.
#[derive(Clone, Debug)]
pub struct Limits {
    pub message_bytes: usize,
    pub metadata_bytes: usize,
    /// Calls under way at once; more are refused with RESOURCE_EXHAUSTED.
    pub calls: usize,
    /// Messages, in and out, that are in memory at once over all connections.
    pub bytes_in_flight: usize,
    /// Where it is reached, the longest silent newcomer is hung up on; without one, the newest.
    pub connections: usize,
    pub streams_per_connection: u32,
    /// From a connection's first byte to its first call, the TLS handshake included.
    pub handshake: Duration,
    /// A peer that was silent this long is asked for a sign of life,
    pub keepalive: Duration,
    /// and hung up on if none came after so long.
    pub keepalive_timeout: Duration,
    /// A connection this old is told to go elsewhere; zero for never.
    pub connection_age: Duration,
    /// How long its calls may then take.
    pub connection_age_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes: 64 << 20,
            metadata_bytes: 16 << 10,
            calls: 1 << 15,
            bytes_in_flight: 2 << 30,
            connections: 10_000,
            streams_per_connection: 1 << 14,
            handshake: Duration::from_secs(10),
            keepalive: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            connection_age: Duration::ZERO,
            connection_age_grace: Duration::from_secs(60),
        }
    }
}

/// How a method's calls are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hot,
    Cold,
    Stream,
}

/// One method that is routed.
#[derive(Clone, Debug)]
pub struct Route {
    /// With the leading slash.
    pub path: String,
    pub kind: Kind,
}
