//! TLS 1.2 and 1.3, and what a verified certificate says.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::*;

/// A configuration from PEM; with a CA, callers must have a certificate of it. The error is a sentence.
pub fn server_config(certificate: &[u8], key: &[u8], client_ca: &[u8]) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(certificate).map_err(|why| format!("the certificate {why}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key cannot be read: {error}"))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?;
    let builder = if client_ca.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for ca in certificates(client_ca).map_err(|why| format!("the clients' CA {why}"))? {
            roots
                .add(ca)
                .map_err(|error| format!("the clients' CA is refused: {error}"))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| format!("the clients' CA is refused: {error}"))?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key are refused: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("has no PEM certificate in it".into()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// What a certificate that was verified says about its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    pub uris: Vec<String>,
    pub dns_names: Vec<String>,
    /// As RFC 4514 writes it.
    pub subject: String,
    /// Hexadecimal, without separators.
    pub serial: String,
    /// Seconds since 1970-01-01 UTC.
    pub expires_epoch_s: i64,
}

/// Reads a DER certificate; None where it, or a name in it, cannot be read.
pub fn holder(der: &[u8]) -> Option<Holder> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut found = Holder {
        subject: rfc4514(certificate.subject())?,
        serial: certificate
            .raw_serial()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        expires_epoch_s: certificate.validity().not_after.timestamp(),
        ..Holder::default()
    };
    // Whoever cannot be told for certain must not be taken for somebody.
    if let Some(names) = certificate.subject_alternative_name().ok()? {
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => found.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => found.dns_names.push((*name).to_owned()),
                GeneralName::Invalid(..) => return None,
                _ => {}
            }
        }
    }
    Some(found)
}

/// RFC 4514: the relative names from the last to the first; None where a value is no text.
fn rfc4514(name: &X509Name<'_>) -> Option<String> {
    let mut relative = Vec::new();
    for rdn in name.iter_rdn() {
        let mut attributes = Vec::new();
        for attribute in rdn.iter() {
            let oid = attribute.attr_type().to_id_string();
            let kind = short_name(&oid).unwrap_or(&oid);
            attributes.push(format!("{kind}={}", escaped(attribute.as_str().ok()?)));
        }
        relative.push(attributes.join("+"));
    }
    relative.reverse();
    Some(relative.join(","))
}

fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return None,
    })
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', character]),
            '#' | ' ' if index == 0 => out.extend(['\\', character]),
            ' ' if index == last => out.extend(['\\', character]),
            // Whatever could break a line of a log.
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\{:02X}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_of_a_name_are_escaped() {
        assert_eq!(escaped("a,b+c"), "a\\,b\\+c");
        assert_eq!(escaped(" #x "), "\\ #x\\ ");
        assert_eq!(escaped("#x"), "\\#x");
        assert_eq!(escaped("a\nb\0"), "a\\0Ab\\00");
        assert_eq!(escaped("plain"), "plain");
    }

    #[test]
    fn what_is_no_pem_is_an_error_that_says_what() {
        let why = server_config(b"junk", b"junk", b"").unwrap_err();
        assert_eq!(why, "the certificate has no PEM certificate in it");
    }

    #[test]
    fn junk_is_no_certificate() {
        assert_eq!(holder(b"\x30\x82\x01"), None);
    }
}
