//! The roots a client trusts, from a PEM file (`--ca FILE`).
//!
//! In comes one PEM file of certificates. Out comes a rustls root store. Invariant: never an empty store, and
//! no certificate of the file is silently left out.

use std::path::Path;

use rustls::RootCertStore;
use time::OffsetDateTime;

use crate::Error;
use crate::certificate::{check_dates, parse};
use crate::pem_file::PemFile;

/// Loads every certificate in a PEM file as a trusted root.
///
/// A certificate that is not a CA's is accepted: it then stands for itself, as a self-signed server's does.
/// Files of more than 1 MiB are refused. TLS does not look at the dates of a root, so this does, once, at
/// loading: a file in which no certificate is valid now is refused.
///
/// # Errors
/// [`Missing`](Error::Missing), [`Unreadable`](Error::Unreadable), [`Empty`](Error::Empty),
/// [`TooLarge`](Error::TooLarge), [`Binary`](Error::Binary), [`NotPem`](Error::NotPem),
/// [`DamagedPem`](Error::DamagedPem), [`NoCertificate`](Error::NoCertificate) (which says what the file
/// holds), [`DamagedCertificate`](Error::DamagedCertificate), [`Expired`](Error::Expired),
/// [`NotYetValid`](Error::NotYetValid).
pub fn load_roots(path: &Path) -> Result<RootCertStore, Error> {
    load_roots_at(path, OffsetDateTime::now_utc())
}

fn load_roots_at(path: &Path, now: OffsetDateTime) -> Result<RootCertStore, Error> {
    roots(&PemFile::read(path)?, now)
}

/// The same of a file that has been read, or is to be.
pub(crate) fn roots(file: &PemFile, now: OffsetDateTime) -> Result<RootCertStore, Error> {
    let path = file.path();
    let mut roots = RootCertStore::empty();
    let mut any_valid = false;
    let mut first_error = None;
    for (number, der) in (1..).zip(file.certificates()?) {
        let certificate = parse(path, number, &der)?;
        match check_dates(path, number, &certificate, now) {
            Ok(()) => any_valid = true,
            Err(error) => first_error = first_error.or(Some(error)),
        }
        roots.add(der.clone()).map_err(|error| Error::DamagedCertificate {
            path: path.to_owned(),
            number,
            reason: error.to_string(),
        })?;
    }
    // One old root in a bundle of many is normal; a file with nothing but old ones is a mistake.
    match first_error {
        Some(error) if !any_valid => Err(error),
        _ => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use time::Duration;

    use super::*;
    use crate::fixture::{file, now, pem, self_signed};

    fn authority(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }

    #[track_caller]
    fn fails(bytes: impl AsRef<[u8]>, parts: &[&str]) {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "roots.pem", bytes);
        let text = load_roots_at(&path, now()).unwrap_err().to_string();
        for part in [&["roots.pem"], parts].concat() {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }

    #[test]
    fn loads_every_root_of_a_bundle() {
        let directory = tempfile::tempdir().unwrap();
        let old = self_signed(|params| {
            authority(params);
            params.not_after = now() - Duration::DAY;
        });
        // An old root beside a good one is normal, and a self-signed leaf stands for itself.
        let bundle = old.0 + &self_signed(authority).0 + &self_signed(|_| {}).0;
        let path = file(directory.path(), "roots.pem", bundle);
        assert_eq!(load_roots_at(&path, now()).unwrap().len(), 3);
    }

    #[test]
    fn files_as_people_have_them_lose_no_root_or_are_refused_with_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (self_signed(authority).0, self_signed(authority).0);
        let both = format!("{first}{second}");
        let utf16 =
            || "\u{feff}".encode_utf16().chain(both.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for content in [
            format!("\u{feff}{both}").into_bytes(),
            format!("{}{second}", first.trim_end()).into_bytes(),
            both.replace('\n', "\r\n").into_bytes(),
            both.replace('\n', "\r").into_bytes(),
            format!("first\n{first}second: {second}").into_bytes(),
            both.replace('\n', " \n  ").into_bytes(),
            both.replace("CERTIFICATE", "X509 CERTIFICATE").into_bytes(),
            utf16(),
        ] {
            let path = file(directory.path(), "roots.pem", &content);
            assert_eq!(
                load_roots_at(&path, now()).unwrap().len(),
                2,
                "{:?}",
                String::from_utf8_lossy(&content)
            );
        }
        let line = format!("line {}", first.lines().count() + 1);
        let last = format!("line {}", both.lines().count());
        for (content, line) in [
            (format!("{first}{}", second.replace("-----BEGIN", "----BEGIN")), &line),
            (format!("{first}{}", second.replace("-----BEGIN CERT", "-----begin CERT")), &line),
            (format!("{first}{}", second.replace("END CERTIFICATE", "END CERT")), &last),
            (format!("{first}{}", second.lines().take(3).collect::<String>()), &line),
            (format!("{first}{}", pem("X509 CRL", &[1, 2, 3])), &line),
            (format!("{first}{}", pem("PKCS7", &[1, 2, 3])), &line),
        ] {
            fails(content, &[line]);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let error = load_roots(&directory.path().join("nowhere.pem")).unwrap_err().to_string();
        assert!(error.contains("nowhere.pem does not exist"), "{error}");

        let good = self_signed(authority).0;
        fails("", &["is empty"]);
        fails("hello", &["not a PEM file"]);
        fails(&good[..good.len() / 2], &["cut off"]);
        fails(
            KeyPair::generate().unwrap().serialize_pem(),
            &["holds a private key, not a certificate; give the file"],
        );
        fails(good + &pem("CERTIFICATE", &[1, 2, 3]), &["number 2", "damaged"]);
        fails(
            self_signed(|p| p.not_after = now() - Duration::DAY).0,
            &["number 1", "expired at 2027-01-14T08:00:00Z"],
        );
        fails(
            self_signed(|p| p.not_before = now() + Duration::DAY).0,
            &["not valid until 2027-01-16T08:00:00Z"],
        );
    }
}
