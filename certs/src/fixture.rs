//! Test material: certificates and keys that are wrong in one chosen way.
//!
//! In come a directory and the change to make. Out come the files' paths. Invariant: without a change, a pair
//! loads.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, IsCa, KeyPair};
use time::{Duration, OffsetDateTime};

/// The time that tests take for now.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

/// Writes a file and gives its path.
pub(crate) fn file(directory: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A self-signed server certificate of ten days around [`now`], as PEM, with its key.
pub(crate) fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (String, KeyPair) {
    self_signed_with(KeyPair::generate().unwrap(), change)
}

/// The same with a key of the caller's.
pub(crate) fn self_signed_with(
    key: KeyPair,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, KeyPair) {
    let mut params = CertificateParams::new(vec!["chat.example".to_owned()]).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_before = now() - Duration::days(5);
    params.not_after = now() + Duration::days(5);
    change(&mut params);
    (params.self_signed(&key).unwrap().pem(), key)
}

/// A pair of files, `cert.pem` and `key.pem`.
pub(crate) fn pair(directory: &Path, change: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
    let (certificate, key) = self_signed(change);
    (file(directory, "cert.pem", certificate), file(directory, "key.pem", key.serialize_pem()))
}

/// Bytes as a PEM section.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut body = String::new();
    for chunk in der.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | usize::from(*chunk.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * i) & 63];
            body.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}
