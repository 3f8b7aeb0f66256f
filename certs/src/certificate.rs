//! One certificate: parse it, check its dates and what it may be used for (RFC 5280).
//!
//! In comes DER with the name of its file and its place in there. Out comes the parsed view, or an [`Error`].
//! Invariant: nothing here decides trust; signatures are checked by TLS, except that a leaf is of the
//! authority on disk.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;

use crate::Error;

/// Parses certificate `number` (counted from 1) of the file at `path`.
pub(crate) fn parse<'a>(
    path: &Path,
    number: usize,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, Error> {
    let damaged = |reason: String| Error::DamagedCertificate { path: path.to_owned(), number, reason };
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| match error {
        x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => {
            damaged(error.to_string())
        }
        x509_parser::nom::Err::Incomplete(_) => damaged("it is cut off".to_owned()),
    })?;
    if !rest.is_empty() {
        return Err(damaged("something follows its end".to_owned()));
    }
    Ok(certificate)
}

/// Checks that `now` is within the certificate's validity, both ends included (RFC 5280, section 4.1.2.5).
pub(crate) fn check_dates(
    path: &Path,
    number: usize,
    certificate: &X509Certificate<'_>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let (not_before, not_after) = dates(certificate);
    let path = path.to_owned();
    // Certificates count whole seconds: the last one counts to its end.
    if now.unix_timestamp() > not_after.unix_timestamp() {
        return Err(Error::Expired { path, number, not_after });
    }
    if now < not_before {
        return Err(Error::NotYetValid { path, number, not_before });
    }
    Ok(())
}

/// First and last second of validity.
pub(crate) fn dates(certificate: &X509Certificate<'_>) -> (OffsetDateTime, OffsetDateTime) {
    let validity = certificate.validity();
    (validity.not_before.to_datetime(), validity.not_after.to_datetime())
}

/// Whether the certificate may sign others: `CA:TRUE`, and `keyCertSign` if key usage is limited.
pub(crate) fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.key_usage().ok().flatten();
    certificate.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
}

/// Whether the certificate may serve TLS: no extended key usage, or one that has `serverAuth` (or any).
pub(crate) fn may_serve(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.extended_key_usage().ok().flatten();
    usage.is_none_or(|usage| usage.value.server_auth || usage.value.any)
}

/// Whether `issuer` signed `certificate`: the names link up and the signature holds.
pub(crate) fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    names_issuer(certificate, issuer) && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// Whether `certificate` says that `issuer` issued it. Byte for byte, as TLS compares them.
pub(crate) fn names_issuer(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
}
