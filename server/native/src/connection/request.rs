//! What the headers of a request say before any method is looked for.

use super::*;

/// The HTTP status for what is no gRPC at all.
pub(super) fn no_grpc(method: &Method, headers: &HeaderMap) -> Option<StatusCode> {
    if method != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = headers
        .get(http::header::CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let is_grpc = kind
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')));
    (!is_grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

pub(super) fn encoding(headers: &HeaderMap) -> Result<Encoding, String> {
    match headers
        .get("grpc-encoding")
        .map_or(&b"identity"[..], |value| value.as_bytes())
    {
        b"identity" => Ok(Encoding::Identity),
        b"gzip" => Ok(Encoding::Gzip),
        b"deflate" => Ok(Encoding::Deflate),
        name => Err(String::from_utf8_lossy(name).into_owned()),
    }
}
