//! One private key: can TLS sign with it, does it belong to its certificate, and if not, why not?
//!
//! In come a DER key, a DER certificate and the names of their files. Out comes nothing, or an [`Error`] that
//! tells a key of an unsupported kind from a damaged one. Invariant: of the key, errors name the algorithm at
//! most.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::asn1_rs::{Any, FromDer, Oid, Sequence};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::x509::AlgorithmIdentifier;

use crate::Error;

/// Checks that `key`, read from `key_path`, signs and belongs to `certificate`, the first in
/// `certificate_path`.
///
/// The two belong together if the key's public half is, byte for byte, what the certificate holds.
pub(crate) fn check_pair(
    certificate_path: &Path,
    certificate: &CertificateDer<'static>,
    key_path: &Path,
    key: &PrivateKeyDer<'_>,
) -> Result<(), Error> {
    let signing = signing_key(key_path, key)?;
    CertifiedKey::new(vec![certificate.clone()], signing).keys_match().map_err(|error| match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Error::KeyMismatch { certificate: certificate_path.to_owned(), key: key_path.to_owned() }
        }
        // The certificate parses, but not by the stricter rules of TLS: version 1, an unknown critical
        // extension.
        other => Error::DamagedCertificate {
            path: certificate_path.to_owned(),
            number: 1,
            reason: other.to_string(),
        },
    })
}

fn signing_key(path: &Path, key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, Error> {
    any_supported_type(key).map_err(|_| match unsupported(key) {
        Some(kind) => Error::UnsupportedKey { path: path.to_owned(), kind },
        None => Error::DamagedKey { path: path.to_owned() },
    })
}

/// Why a key that was refused is of an unsupported kind; `None` if it should have worked and so is damaged.
fn unsupported(key: &PrivateKeyDer<'_>) -> Option<String> {
    match key {
        PrivateKeyDer::Pkcs1(key) => rsa_size(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(_) => None,
        PrivateKeyDer::Pkcs8(key) => {
            let Pkcs8 { algorithm, curve, inner } = pkcs8(key.secret_pkcs8_der())?;
            if algorithm == OID_PKCS1_RSAENCRYPTION {
                rsa_size(&inner)
            } else if algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
                let curve = curve?;
                let known = [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521].contains(&curve);
                (!known).then(|| format!("an ECDSA key on the curve {curve}"))
            } else {
                (algorithm != OID_SIG_ED25519).then(|| format!("a key of the algorithm {algorithm}"))
            }
        }
        _ => Some("a key of an unknown form".to_owned()),
    }
}

/// Says of an RSA key (PKCS#1, RFC 8017, appendix A.1.2) that its size is out of bounds, if it is.
fn rsa_size(der: &[u8]) -> Option<String> {
    let (_, sequence) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(&sequence.content).ok()?;
    let (_, modulus) = Any::from_der(rest).ok()?;
    // A first byte of zero is the sign's, not the number's.
    let bytes = modulus.data.strip_prefix(&[0]).unwrap_or(modulus.data).len();
    (!(256..=1024).contains(&bytes)).then(|| format!("an RSA key of {} bits", bytes * 8))
}

/// A PKCS#8 key, taken apart (RFC 5208, section 5). Has no `Debug`: `inner` is secret.
struct Pkcs8 {
    algorithm: Oid<'static>,
    curve: Option<Oid<'static>>,
    inner: Vec<u8>,
}

fn pkcs8(der: &[u8]) -> Option<Pkcs8> {
    let (_, sequence) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(&sequence.content).ok()?;
    let (rest, identifier) = AlgorithmIdentifier::from_der(rest).ok()?;
    let (_, inner) = Any::from_der(rest).ok()?;
    let curve = identifier.parameters.and_then(|any| any.oid().ok()).map(|oid| oid.to_owned());
    Some(Pkcs8 { algorithm: identifier.algorithm.to_owned(), curve, inner: inner.data.to_owned() })
}
