//! Operators' certificates: issued by the authority in the state directory, and revoked.
//!
//! In come a state directory, a name and a role. Out come a certificate with its key, or a longer revocation list.
//! Invariants: a certificate says whose it is (common name), what it is for (organizational unit) and that it is a
//! client's, and nothing else; what is issued stays in the directory until it is revoked, so that it can be revoked by
//! its name.

use std::path::{Path, PathBuf};

use fanfare_protocol::admin::Role;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;

use crate::Error;
use crate::authority::Authority;
use crate::certificate::{check_dates, is_signed_by, parse};
use crate::description::Description;
use crate::file_names::CA_CERTIFICATE;
use crate::pem_file::PemFile;
use crate::private_key::check_pair;
use crate::profile;
use crate::revocation_list;
use crate::state_directory::StateDirectory;

/// How long an operator's certificate is valid if nobody says otherwise: 90 days.
pub const OPERATOR_LIFETIME: Duration = Duration::days(90);

/// The operator that a development server makes for whoever runs it.
pub const DEVELOPMENT_OPERATOR: &str = "developer";

/// The longest name of an operator, in bytes: X.509's upper bound of a common name (RFC 5280, appendix A.1).
const NAME_BYTES: usize = 64;

/// An operator's certificate on disk.
#[derive(Debug)]
pub struct OperatorCertificate {
    /// The operator's name.
    pub name: String,
    /// What it may be used for.
    pub role: Role,
    /// The file with the certificate.
    pub certificate: PathBuf,
    /// The file with its private key.
    pub key: PathBuf,
    /// The file with the authority's certificate, by which an operator knows the server.
    pub ca_certificate: PathBuf,
    /// What the certificate says.
    pub description: Description,
}

/// Where an operator's certificate and key are, in a state directory.
#[must_use]
pub fn operator_files(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = file_names(name);
    (directory.join(certificate), directory.join(key))
}

fn file_names(name: &str) -> (String, String) {
    (format!("operator-{name}.pem"), format!("operator-{name}-key.pem"))
}

/// Issues a certificate for an operator, valid from an hour before now for `lifetime` from now on, or until the
/// authority ends. Makes the authority, too, where there is none.
///
/// # Errors
/// [`Error::BadClientName`] or [`Error::BadLifetime`] before anything is made. [`Error::OperatorExists`] if this
/// operator has a certificate here. Those of [`Authority::open_or_create`]; [`Error::Generate`], [`Error::Write`].
pub fn create_operator(
    directory: &Path,
    name: &str,
    role: Role,
    lifetime: Duration,
) -> Result<OperatorCertificate, Error> {
    check_name(name)?;
    check_lifetime(lifetime)?;
    let state = StateDirectory::make(directory)?;
    let (certificate, key) = file_names(name);
    for file in [&certificate, &key] {
        if state.holds(file)? {
            return Err(Error::OperatorExists { name: name.to_owned(), path: state.file(file) });
        }
    }
    issue(&state, name, role, lifetime, OffsetDateTime::now_utc())
}

/// The certificate of [`DEVELOPMENT_OPERATOR`], made or made again where it is not there, ends within three days, or is
/// another authority's.
///
/// # Errors
/// As [`create_operator`], without [`Error::OperatorExists`].
pub fn development_operator(directory: &Path) -> Result<OperatorCertificate, Error> {
    development_operator_in(&StateDirectory::make(directory)?, OffsetDateTime::now_utc())
}

/// The same in a directory that is held, or planned.
pub(crate) fn development_operator_in(
    state: &StateDirectory,
    now: OffsetDateTime,
) -> Result<OperatorCertificate, Error> {
    let authority = Authority::load_or_make(state, now)?;
    let name = DEVELOPMENT_OPERATOR;
    match load(state, name, &authority, now + profile::LEAF_RENEWAL) {
        Ok(found) => Ok(found),
        Err(Error::Unreadable { path, cause }) => Err(Error::Unreadable { path, cause }),
        Err(_) => issue(state, name, Role::Operator, OPERATOR_LIFETIME, now),
    }
}

/// Revokes an operator's certificate: it goes on the revocation list, and then its files go.
///
/// # Errors
/// [`Error::NoOperator`] if there is no certificate of this name. Those of [`Authority::open`];
/// [`Error::DamagedRevocations`], [`Error::Write`].
pub fn revoke_operator(directory: &Path, name: &str) -> Result<Description, Error> {
    check_name(name)?;
    let (certificate, key) = file_names(name);
    let unknown = || Error::NoOperator { name: name.to_owned(), path: directory.join(&certificate) };
    let state = StateDirectory::existing(directory)?.ok_or_else(unknown)?;
    if !state.holds(&certificate)? {
        return Err(unknown());
    }
    let revoked = revoke(&state, &state.file(&certificate))?;
    state.remove(&key)?;
    state.remove(&certificate)?;
    Ok(revoked)
}

/// Takes back the certificate in a PEM file, wherever that is. The file stays as it is.
///
/// # Errors
/// [`Error::NotOurs`] if the authority in `directory` did not sign it. Those of [`Authority::open`] and of reading the
/// file; [`Error::DamagedRevocations`], [`Error::Write`].
pub fn revoke_certificate(directory: &Path, certificate: &Path) -> Result<Description, Error> {
    let not_ours = || Error::NotOurs { path: certificate.to_owned() };
    revoke(&StateDirectory::existing(directory)?.ok_or_else(not_ours)?, certificate)
}

fn revoke(state: &StateDirectory, path: &Path) -> Result<Description, Error> {
    let now = OffsetDateTime::now_utc();
    let not_ours = || Error::NotOurs { path: path.to_owned() };
    let authority = Authority::load(state, now)?.ok_or_else(not_ours)?;
    let certificates = PemFile::read(path)?.certificates()?;
    let der = certificates.first().ok_or_else(not_ours)?;
    let certificate = parse(path, 1, der)?;
    if !is_signed_by(&certificate, &authority.parsed()?) {
        return Err(not_ours());
    }
    revocation_list::add(state, &authority, certificate.raw_serial(), now)?;
    Ok(Description::of(&certificate))
}

fn issue(
    state: &StateDirectory,
    name: &str,
    role: Role,
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<OperatorCertificate, Error> {
    let authority = Authority::load_or_make(state, now)?;
    let issued = authority.issue_client(name, Some(role), lifetime, now)?;
    let (certificate, key) = file_names(name);
    state.write_over(&key, &issued.key_pem())?;
    state.write_over(&certificate, issued.certificate_pem())?;
    load(state, name, &authority, now)
}

fn load(
    state: &StateDirectory,
    name: &str,
    authority: &Authority,
    now: OffsetDateTime,
) -> Result<OperatorCertificate, Error> {
    let (certificate_name, key_name) = file_names(name);
    let (certificate, key) = (state.file(&certificate_name), state.file(&key_name));
    let not_ours = || Error::NotOurs { path: certificate.clone() };
    let certificates = state.pem(&certificate_name)?.certificates()?;
    let der = certificates.first().ok_or_else(not_ours)?;
    let parsed = parse(&certificate, 1, der)?;
    check_dates(&certificate, 1, &parsed, now)?;
    check_pair(&certificate, der, &key, &state.pem(&key_name)?.key()?)?;
    if !is_signed_by(&parsed, &authority.parsed()?) {
        return Err(not_ours());
    }
    let Ok((named, role)) = name_and_role(&parsed) else { return Err(not_ours()) };
    let description = Description::of(&parsed);
    let ca_certificate = state.file(CA_CERTIFICATE);
    Ok(OperatorCertificate { name: named, role, certificate, key, ca_certificate, description })
}

/// Whose certificate it is and what it is for, or why it is no operator's.
pub(crate) fn name_and_role(certificate: &X509Certificate<'_>) -> Result<(String, Role), &'static str> {
    let usage = certificate.extended_key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.client_auth) {
        return Err("it is not for clients (extended key usage)");
    }
    let subject = certificate.subject();
    // Two of one kind would leave open which one counts.
    let mut names = subject.iter_common_name().map(x509_parser::x509::AttributeTypeAndValue::as_str);
    let (Some(Ok(name)), None) = (names.next(), names.next()) else {
        return Err("it does not have exactly one name (common name)");
    };
    check_name(name).map_err(|_| "its name is not an operator's")?;
    let mut units = subject.iter_organizational_unit().map(x509_parser::x509::AttributeTypeAndValue::as_str);
    let role = match (units.next(), units.next()) {
        (Some(Ok("viewer")), None) => Role::Viewer,
        (Some(Ok("operator")), None) => Role::Operator,
        _ => return Err("it does not have exactly one role (organizational unit), viewer or operator"),
    };
    Ok((name.to_owned(), role))
}

pub(crate) fn check_lifetime(lifetime: Duration) -> Result<(), Error> {
    let fine = (Duration::minutes(1)..=Duration::days(3650)).contains(&lifetime);
    if fine { Ok(()) } else { Err(Error::BadLifetime) }
}

/// A name is part of a file's name, and is shown in terminals and logs.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let bad = |reason| Err(Error::BadClientName { name: name.to_owned(), reason });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    match name.as_bytes() {
        [] => bad("it is empty"),
        bytes if bytes.len() > NAME_BYTES => bad("it has more than 64 bytes"),
        bytes if !bytes.iter().all(|byte| plain(*byte)) => bad("it may have A-Z, a-z, 0-9 and . _ @ - in it"),
        [b'.' | b'-', ..] => bad("it must not begin with . or -"),
        bytes if bytes.ends_with(b"-key") => bad("it must not end with -key, as files of keys do"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::revocation_list::Revocations;

    #[test]
    fn an_operator_is_issued_once_and_revoked_by_name() {
        let home = tempfile::tempdir().unwrap();
        let made = create_operator(home.path(), "oncall", Role::Operator, OPERATOR_LIFETIME).unwrap();
        assert_eq!((made.name.as_str(), made.role), ("oncall", Role::Operator));
        assert_eq!(operator_files(home.path(), "oncall"), (made.certificate.clone(), made.key.clone()));
        for file in [&made.certificate, &made.key] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let again = create_operator(home.path(), "oncall", Role::Viewer, OPERATOR_LIFETIME).unwrap_err();
        assert!(matches!(again, Error::OperatorExists { .. }), "{again}");
        let text = again.to_string();
        assert!(text.contains("revoke that of oncall first") && !text.contains("replace"), "{text}");

        let revoked = revoke_operator(home.path(), "oncall").unwrap();
        assert_eq!(revoked, made.description);
        assert!(!made.certificate.exists() && !made.key.exists());
        let again = revoke_operator(home.path(), "oncall").unwrap_err();
        assert!(again.to_string().contains("\"oncall\""), "{again}");
        // The next one of this name is another certificate.
        let next = create_operator(home.path(), "oncall", Role::Viewer, OPERATOR_LIFETIME).unwrap();
        assert_ne!(next.description.serial, made.description.serial);
        let revocations = Revocations::read(home.path()).unwrap();
        assert_eq!(revocations.len(), 1);
    }

    #[test]
    fn the_developers_certificate_is_kept_while_it_is_of_use() {
        let home = tempfile::tempdir().unwrap();
        let first = development_operator(home.path()).unwrap();
        assert_eq!(development_operator(home.path()).unwrap().description, first.description);
        std::fs::write(&first.key, "damaged").unwrap();
        assert_ne!(development_operator(home.path()).unwrap().description, first.description);
        let second = development_operator(home.path()).unwrap();
        Authority::replace(home.path(), &[]).unwrap();
        let third = development_operator(home.path()).unwrap();
        assert_ne!(third.description, second.description, "of the authority that is there now");
    }

    #[test]
    fn bad_names_and_lifetimes_make_nothing() {
        let home = tempfile::tempdir().unwrap();
        let long = "x".repeat(65);
        for name in ["", "a b", "../x", ".x", "-x", "a/b", "x-key", "\u{1b}[2J", "\u{e9}", &long] {
            let error = create_operator(home.path(), name, Role::Viewer, OPERATOR_LIFETIME).unwrap_err();
            assert!(matches!(error, Error::BadClientName { .. }), "{name:?}: {error}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
        for days in [0, 4_000, -1] {
            let error = create_operator(home.path(), "x", Role::Viewer, Duration::days(days)).unwrap_err();
            assert!(matches!(error, Error::BadLifetime), "{error}");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_server_certificate_of_ones_own_beside_it_is_no_obstacle_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(crate::SERVER_CERTIFICATE);
        std::fs::write(&own, "somebody's own").unwrap();
        create_operator(home.path(), "oncall", Role::Viewer, OPERATOR_LIFETIME).unwrap();
        crate::admin_leaf(home.path(), &[]).unwrap();
        assert_eq!(std::fs::read_to_string(own).unwrap(), "somebody's own");
    }

    #[test]
    fn a_certificate_of_another_authority_is_not_ours_to_revoke() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        create_operator(home.path(), "a", Role::Viewer, OPERATOR_LIFETIME).unwrap();
        let foreign = create_operator(other.path(), "a", Role::Viewer, OPERATOR_LIFETIME).unwrap();
        let error = revoke_certificate(home.path(), &foreign.certificate).unwrap_err();
        assert!(matches!(error, Error::NotOurs { .. }), "{error}");
        revoke_certificate(other.path(), &foreign.certificate).unwrap();
        assert!(foreign.certificate.exists(), "given by its file, it stays");
    }
}
