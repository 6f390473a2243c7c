//! Statuses and their texts on the wire (gRPC over HTTP/2, "Responses").

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, CONTENT_TYPE};

pub const OK: u8 = 0;
pub const CANCELLED: u8 = 1;
pub const DEADLINE_EXCEEDED: u8 = 4;
pub const RESOURCE_EXHAUSTED: u8 = 8;
pub const UNIMPLEMENTED: u8 = 12;
pub const INTERNAL: u8 = 13;
pub const UNAVAILABLE: u8 = 14;
/// How many statuses there are.
pub const COUNT: usize = 17;

const CODES: [&str; COUNT] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
];

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// How a call ends when not with OK alone.
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    pub text: String,
    pub trailers: Option<Box<HeaderMap>>,
}

impl Failure {
    pub fn new(status: u8, text: impl Into<String>) -> Self {
        Failure {
            status,
            text: text.into(),
            trailers: None,
        }
    }
}

/// A failure that says when to try again: in so many milliseconds, or never where that is negative (gRFC A6).
pub fn pushed_back(status: u8, text: impl Into<String>, milliseconds: i64) -> Failure {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(&PUSHBACK, HeaderValue::from(milliseconds));
    Failure {
        status,
        text: text.into(),
        trailers: Some(Box::new(trailers)),
    }
}

/// The text as `grpc-message` carries it: bytes outside printable ASCII, and `%`, as `%XX`.
pub fn percent_encoded(text: &str) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(out)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The headers of every answer.
pub fn response_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(&ACCEPT_ENCODING, HeaderValue::from_static("identity,deflate,gzip"));
    headers
}

/// The trailers of a call that ends with OK.
pub fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(&GRPC_STATUS, HeaderValue::from_static(CODES[0]));
    trailers
}

/// Adds a failure to headers (where nothing else was sent) or to empty trailers.
pub fn write_failure(headers: &mut HeaderMap, failure: Failure) {
    if let Some(trailers) = failure.trailers {
        headers.extend(*trailers);
    }
    headers.insert(
        &GRPC_STATUS,
        HeaderValue::from_static(CODES[usize::from(failure.status).min(COUNT - 1)]),
    );
    if !failure.text.is_empty() {
        headers.insert(&GRPC_MESSAGE, percent_encoded(&failure.text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_percent_encoded() {
        assert_eq!(percent_encoded("plain text ~"), "plain text ~");
        assert_eq!(percent_encoded("100%"), "100%25");
        assert_eq!(percent_encoded("a\nb\u{7f}"), "a%0Ab%7F");
        assert_eq!(percent_encoded("für"), "f%C3%BCr");
    }

    #[test]
    fn a_failure_has_its_status_text_and_trailers() {
        let mut failure = Failure::new(RESOURCE_EXHAUSTED, "too much…");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-retry-pushback-ms", HeaderValue::from_static("12"));
        failure.trailers = Some(Box::new(trailers));
        let mut headers = HeaderMap::new();
        write_failure(&mut headers, failure);
        assert_eq!(headers["grpc-status"], "8");
        assert_eq!(headers["grpc-message"], "too much%E2%80%A6");
        assert_eq!(headers["grpc-retry-pushback-ms"], "12");
    }
}
