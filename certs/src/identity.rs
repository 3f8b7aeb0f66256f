//! A server's identity: its certificate chain and the private key that belongs to it.
//!
//! In come two PEM files, a user's own or the development leaf's. Out comes an [`Identity`] that TLS can
//! serve with, or an [`Error`] that says exactly what is wrong. Invariants: the key belongs to the first
//! certificate; every certificate was within its dates when loaded; the key is in no `Debug` text.

use std::fmt;
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::Error;
use crate::certificate::{check_dates, may_serve, parse};
use crate::description::Description;
use crate::pem_file::PemFile;
use crate::private_key::check_pair;

/// A certificate chain with its private key, checked.
pub struct Identity {
    /// The server's certificate, then its intermediates, as they stood in the file; never empty.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// What the first certificate says.
    pub description: Description,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("description", &self.description)
            .field("key", &"[hidden]")
            .finish_non_exhaustive()
    }
}

/// Loads a certificate chain and its private key from PEM files, and checks them as of `now`.
///
/// `cert` holds the server's certificate first, then any intermediates. `key` holds one unencrypted key:
/// PKCS#8, PKCS#1 or SEC1. Both may be the same file. A file of more than 1 MiB is refused.
///
/// Names and trust are not checked: those are the client's to judge, and a pinned certificate needs neither.
///
/// # Errors
/// - Either file: [`Missing`](Error::Missing), [`Unreadable`](Error::Unreadable), [`Empty`](Error::Empty),
///   [`TooLarge`](Error::TooLarge), [`Binary`](Error::Binary), [`NotPem`](Error::NotPem),
///   [`DamagedPem`](Error::DamagedPem).
/// - The certificate: [`KeyInsteadOfCertificate`](Error::KeyInsteadOfCertificate),
///   [`NoCertificate`](Error::NoCertificate), [`DamagedCertificate`](Error::DamagedCertificate),
///   [`Expired`](Error::Expired), [`NotYetValid`](Error::NotYetValid),
///   [`AuthorityAsLeaf`](Error::AuthorityAsLeaf), [`NotForServers`](Error::NotForServers).
/// - The key: [`CertificateInsteadOfKey`](Error::CertificateInsteadOfKey), [`NoKey`](Error::NoKey),
///   [`SeveralKeys`](Error::SeveralKeys), [`EncryptedKey`](Error::EncryptedKey),
///   [`UnsupportedKey`](Error::UnsupportedKey), [`DamagedKey`](Error::DamagedKey).
/// - The two together: [`KeyMismatch`](Error::KeyMismatch).
pub fn load_identity(cert: &Path, key: &Path, now: OffsetDateTime) -> Result<Identity, Error> {
    identity(&PemFile::read(cert)?, || PemFile::read(key), now)
}

/// The same of files that have been read, or are to be.
pub(crate) fn identity(
    file: &PemFile,
    key: impl FnOnce() -> Result<PemFile, Error>,
    now: OffsetDateTime,
) -> Result<Identity, Error> {
    let cert = file.path();
    if file.holds_key() && !file.holds_certificate() {
        return Err(Error::KeyInsteadOfCertificate { path: cert.to_owned() });
    }
    let chain = file.certificates()?;
    let key = key()?;
    let private = key.key()?;

    let mut description = None;
    for (number, der) in (1..).zip(&chain) {
        let certificate = parse(cert, number, der)?;
        if description.is_none() {
            if certificate.is_ca() {
                return Err(Error::AuthorityAsLeaf { path: cert.to_owned() });
            }
            if !may_serve(&certificate) {
                return Err(Error::NotForServers { path: cert.to_owned() });
            }
            description = Some(Description::of(&certificate));
        }
        check_dates(cert, number, &certificate, now)?;
    }
    let (Some(first), Some(description)) = (chain.first(), description) else {
        return Err(Error::NoCertificate { path: cert.to_owned(), found: "nothing" });
    };
    check_pair(cert, first, key.path(), &private)?;
    Ok(Identity { chain, key: private, description })
}

#[cfg(test)]
mod tests;
