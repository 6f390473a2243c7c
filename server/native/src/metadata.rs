//! Metadata between headers and pairs; what ends in `-bin` is base64 on the wire (gRPC over HTTP/2, "Custom-Metadata").

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::Engine;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Senders may pad or not, receivers take both; we do not pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Headers that are the protocol's own business.
const OURS: [&str; 6] = [
    "te",
    "content-type",
    "content-length",
    "grpc-timeout",
    "grpc-encoding",
    "grpc-accept-encoding",
];

/// A value as the application sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Binary(Vec<u8>),
}

/// What the application may see of a call's headers; a binary value that is not base64 is left out.
pub fn pairs(headers: &HeaderMap) -> Vec<(&str, Value)> {
    let mut found = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let name = name.as_str();
        if OURS.contains(&name) {
            continue;
        }
        if name.ends_with("-bin") {
            for part in value.as_bytes().split(|&byte| byte == b',') {
                if let Ok(decoded) = BASE64.decode(part.trim_ascii()) {
                    found.push((name, Value::Binary(decoded)));
                }
            }
        } else {
            found.push((
                name,
                Value::Text(String::from_utf8_lossy(value.as_bytes()).into_owned()),
            ));
        }
    }
    found
}

/// How much the headers count: as HTTP/2 counts a header list (RFC 9113, 6.5.2).
pub fn size_bytes(headers: &HeaderMap, path: &str) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum::<usize>()
        + path.len()
}

/// Adds a pair to trailers; returns what is wrong with one that cannot be sent.
pub fn add(trailers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), String> {
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no name of metadata"))?;
    let encoded = match value {
        Value::Binary(raw) => {
            if !name.ends_with("-bin") {
                return Err(format!("{name:?} has a binary value, so its name ends in -bin"));
            }
            HeaderValue::from_str(&BASE64.encode(raw))
        }
        Value::Text(text) => HeaderValue::from_str(text),
    };
    trailers.append(
        header,
        encoded.map_err(|_| format!("the value of {name:?} is not text of printable ASCII"))?,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_are_decoded_with_and_without_padding_and_apart() {
        let mut headers = HeaderMap::new();
        headers.append("a-bin", HeaderValue::from_static("AQI="));
        headers.append("a-bin", HeaderValue::from_static("AQI,Aw"));
        headers.append("b-bin", HeaderValue::from_static("!!!"));
        headers.append("c", HeaderValue::from_static("text"));
        headers.append("te", HeaderValue::from_static("trailers"));
        let found = pairs(&headers);
        assert_eq!(
            found,
            vec![
                ("a-bin", Value::Binary(vec![1, 2])),
                ("a-bin", Value::Binary(vec![1, 2])),
                ("a-bin", Value::Binary(vec![3])),
                ("c", Value::Text("text".into())),
            ]
        );
    }

    #[test]
    fn what_was_added_is_found_again() {
        let mut trailers = HeaderMap::new();
        let raw: Vec<u8> = (0..=255).collect();
        add(&mut trailers, "all-bin", &Value::Binary(raw.clone())).unwrap();
        add(&mut trailers, "word", &Value::Text("x".into())).unwrap();
        let found = pairs(&trailers);
        assert!(found.contains(&("all-bin", Value::Binary(raw))));
        assert!(found.contains(&("word", Value::Text("x".into()))));
    }

    #[test]
    fn what_cannot_be_sent_is_an_error() {
        let mut trailers = HeaderMap::new();
        assert!(add(&mut trailers, "a b", &Value::Text("x".into())).is_err());
        assert!(add(&mut trailers, "a", &Value::Text("x\n".into())).is_err());
        assert!(add(&mut trailers, "a", &Value::Binary(vec![0])).is_err());
        assert!(trailers.is_empty());
    }
}
