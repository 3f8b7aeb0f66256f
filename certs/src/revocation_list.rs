//! The operators' revocation list (RFC 5280, section 5): which certificates were revoked.
//!
//! In come serial numbers. Out comes a file that the authority signed, and from the file the numbers again. Invariants:
//! the list only grows; a list that cannot be read, or that another authority signed, is an error and never an empty
//! list.

use std::collections::BTreeSet;
use std::path::Path;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::Error;
use crate::authority::Authority;
use crate::certificate::parse;
use crate::file_names::{CA_CERTIFICATE, OPERATORS_REVOKED};
use crate::pem_file::PemFile;
use crate::state_directory::StateDirectory;

/// The serial numbers of certificates that were revoked.
pub(crate) struct Revocations(BTreeSet<Vec<u8>>);

impl Revocations {
    /// Reads the list in a state directory. None is an empty one.
    pub(crate) fn read(directory: &Path) -> Result<Self, Error> {
        let authority = directory.join(CA_CERTIFICATE);
        let certificates = PemFile::read(&authority)?.certificates()?;
        let der = certificates.first().ok_or(Error::Empty { path: authority.clone() })?;
        let known = entries(&directory.join(OPERATORS_REVOKED), &parse(&authority, 1, der)?)?;
        Ok(Self(known.into_iter().map(|(serial, _)| serial).collect()))
    }

    pub(crate) fn holds(&self, serial: &[u8]) -> bool {
        self.0.contains(significant(serial))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Refuses a list that cannot be read.
pub(crate) fn check(state: &StateDirectory, authority: &Authority) -> Result<(), Error> {
    entries(&state.file(OPERATORS_REVOKED), &authority.parsed()?).map(drop)
}

/// Adds a certificate to the list.
pub(crate) fn add(
    state: &StateDirectory,
    authority: &Authority,
    serial: &[u8],
    now: OffsetDateTime,
) -> Result<(), Error> {
    let path = state.file(OPERATORS_REVOKED);
    let mut revoked = entries(&path, &authority.parsed()?)?;
    let serial = significant(serial).to_vec();
    if !revoked.iter().any(|(known, _)| *known == serial) {
        revoked.push((serial, now));
    }
    // As many lists as entries came before this one.
    let number = revoked.len() as u64;
    let revoked_certs = revoked.into_iter().map(|(serial, since)| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: since,
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: now,
        // There is no calendar by which lists come: the newest file counts, however old it is.
        next_update: authority.not_after(),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked_certs.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    state.write_over(OPERATORS_REVOKED, &authority.sign_list(&list)?)
}

/// Serial numbers, each with the time since when it counts.
fn entries(path: &Path, authority: &X509Certificate<'_>) -> Result<Vec<(Vec<u8>, OffsetDateTime)>, Error> {
    let damaged =
        |reason: &str| Error::DamagedRevocations { path: path.to_owned(), reason: reason.to_owned() };
    let file = match PemFile::read(path) {
        Err(Error::Missing { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let der = file.revocation_list().ok_or_else(|| damaged("it holds no revocation list"))?;
    let (rest, list) = x509_parser::parse_x509_crl(der).map_err(|_| damaged("it cannot be read"))?;
    if !rest.is_empty() {
        return Err(damaged("something follows its end"));
    }
    let list: CertificateRevocationList<'_> = list;
    if list.verify_signature(authority.public_key()).is_err() {
        return Err(damaged("the authority beside it did not sign it"));
    }
    let entries = list.iter_revoked_certificates();
    Ok(entries
        .map(|entry| (significant(entry.raw_serial()).to_vec(), entry.revocation_date.to_datetime()))
        .collect())
}

/// Without the zeros that DER puts before a number, or that somebody left out.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}
