//! Certificates that say which user a native client is.
//!
//! In come a name, for issuing, or a chain that TLS has checked. Out come a certificate with its key, or the user that
//! it names. Invariant: an operator's certificate is no user's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use time::{Duration, OffsetDateTime};

use crate::Error;
use crate::authority::Authority;
use crate::certificate::{check_dates, dates, parse};
use crate::description::{Description, describe};
use crate::file_names::CA_CERTIFICATE;
use crate::operator::{check_lifetime, check_name};
use crate::roots::load_roots;
use crate::state_directory::StateDirectory;

/// A user's certificate on disk.
#[derive(Debug)]
pub struct UserCertificate {
    /// The file with the certificate.
    pub certificate: PathBuf,
    /// The file with its private key.
    pub key: PathBuf,
    /// The file with the authority's certificate: what the server is given to trust (`--client-ca`).
    pub ca_certificate: PathBuf,
    /// What the certificate says.
    pub description: Description,
}

/// Issues a certificate for a user by the authority in `directory`, which is made where there is none.
///
/// # Errors
/// [`Error::BadClientName`] or [`Error::BadLifetime`] before anything is made. [`Error::UserExists`] if this user has a
/// certificate here: it would stay valid, and its serial number, by which it is revoked, would be gone. Those of
/// [`Authority::open_or_create`]; [`Error::Generate`], [`Error::Write`].
pub fn create_user(directory: &Path, name: &str, lifetime: Duration) -> Result<UserCertificate, Error> {
    check_name(name)?;
    check_lifetime(lifetime)?;
    let now = OffsetDateTime::now_utc();
    let state = StateDirectory::make(directory)?;
    let (certificate, key) = (format!("user-{name}.pem"), format!("user-{name}-key.pem"));
    for file in [&certificate, &key] {
        if state.holds(file)? {
            return Err(Error::UserExists { path: state.file(file) });
        }
    }
    let authority = Authority::load_or_make(&state, now)?;
    let issued = authority.issue_client(name, None, lifetime, now)?;
    state.write_over(&key, &issued.key_pem())?;
    state.write_over(&certificate, issued.certificate_pem())?;
    let certificate = state.file(&certificate);
    let description = describe(&certificate)?.into_iter().next();
    let description = description.ok_or(Error::Empty { path: certificate.clone() })?;
    Ok(UserCertificate {
        certificate,
        key: state.file(&key),
        ca_certificate: state.file(CA_CERTIFICATE),
        description,
    })
}

/// What TLS checks clients' certificates with: one of an authority in this PEM file, or none at all.
///
/// # Errors
/// Those of [`load_roots`]; [`Error::NotAUser`] if TLS does not take the authorities.
pub fn user_verifier(authorities: &Path) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = load_roots(authorities)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
    verifier.build().map_err(|error| Error::NotAUser { reason: error.to_string() })
}

/// What a user's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedName {
    /// The common name.
    pub name: String,
    /// The serial number, in lower-case hexadecimal.
    pub serial: String,
    /// First second of its validity.
    pub not_before: OffsetDateTime,
    /// Last second of its validity.
    pub not_after: OffsetDateTime,
}

/// Whom the first certificate of a chain names. TLS has checked whose authority issued it, and that it is for clients.
///
/// # Errors
/// [`Error::NotAUser`]; [`Error::Expired`] and [`Error::NotYetValid`], as TLS may have looked some time ago.
pub fn certified_name(chain: &[CertificateDer<'_>]) -> Result<CertifiedName, Error> {
    let shown = Path::new("the client's certificate");
    let refused = |reason: &str| Error::NotAUser { reason: reason.to_owned() };
    let certificate = parse(shown, 1, chain.first().ok_or_else(|| refused("none was shown"))?)?;
    check_dates(shown, 1, &certificate, OffsetDateTime::now_utc())?;
    let subject = certificate.subject();
    // Two of one kind would leave open which one counts.
    let mut names = subject.iter_common_name().map(x509_parser::x509::AttributeTypeAndValue::as_str);
    let (Some(Ok(name)), None) = (names.next(), names.next()) else {
        return Err(refused("it does not have exactly one name (common name)"));
    };
    let mut units = subject.iter_organizational_unit().map(x509_parser::x509::AttributeTypeAndValue::as_str);
    if units.any(|unit| matches!(unit, Ok("viewer" | "operator") | Err(_))) {
        return Err(refused("it is an operator's"));
    }
    let (not_before, not_after) = dates(&certificate);
    let serial = Description::of(&certificate).serial;
    Ok(CertifiedName { name: name.to_owned(), serial, not_before, not_after })
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::admin::Role;

    use super::*;
    use crate::operator::{OPERATOR_LIFETIME, create_operator};
    use crate::operator_check::OperatorCheck;
    use crate::pem_file::PemFile;

    fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
        PemFile::read(path).unwrap().certificates().unwrap()
    }

    #[test]
    fn a_users_certificate_is_not_overwritten_as_it_stays_valid() {
        let home = tempfile::tempdir().unwrap();
        let made = create_user(home.path(), "alice", Duration::days(1)).unwrap();
        let files = || [&made.certificate, &made.key].map(|file| std::fs::read(file).unwrap());
        let before = files();
        let error = create_user(home.path(), "alice", Duration::days(1)).unwrap_err();
        assert!(matches!(error, Error::UserExists { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("user-alice.pem")
                && text.contains("serial number refused")
                && !text.contains("replace"),
            "{text}"
        );
        assert_eq!(files(), before);
        // A key that was left alone is not overwritten, either.
        std::fs::remove_file(&made.certificate).unwrap();
        let error = create_user(home.path(), "alice", Duration::days(1)).unwrap_err();
        assert!(matches!(&error, Error::UserExists { path } if *path == made.key), "{error}");
    }

    #[test]
    fn a_certificate_names_a_user_and_neither_kind_passes_for_the_other() {
        let home = tempfile::tempdir().unwrap();
        let made = create_user(home.path(), "alice", Duration::days(1)).unwrap();
        let named = certified_name(&chain(&made.certificate)).unwrap();
        assert_eq!((named.name.as_str(), &named.serial), ("alice", &made.description.serial));
        let check = OperatorCheck::new(home.path());
        assert!(check.identify(&chain(&made.certificate)).is_err(), "a user is no operator");
        let operator = create_operator(home.path(), "oncall", Role::Viewer, OPERATOR_LIFETIME).unwrap();
        let error = certified_name(&chain(&operator.certificate)).unwrap_err();
        assert!(error.to_string().contains("an operator's"), "{error}");
        assert!(certified_name(&[]).is_err());
        user_verifier(&made.ca_certificate).unwrap();
        assert!(user_verifier(&made.key).is_err());
    }
}
