//! The server's leaf on disk: kept while it serves, made again when it no longer does.
//!
//! In come a state directory, names and the time. Out comes a [`Leaf`] that is valid for days to come, holds
//! every name asked for and was signed by the authority beside it. Invariant: only a leaf issued in that
//! authority's name, or a file too damaged to be of use, is ever overwritten.

use std::fmt;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;

use crate::Error;
use crate::authority::Authority;
use crate::certificate::{is_signed_by, names_issuer, parse};
use crate::file_names::{ADMIN_CERTIFICATE, ADMIN_KEY, CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY};
use crate::host_name::HostName;
use crate::identity::{Identity, identity};
use crate::profile::LEAF_RENEWAL;
use crate::state_directory::StateDirectory;

/// A server's leaf on disk, loaded.
#[derive(Debug)]
pub struct Leaf {
    /// The file with its certificate.
    pub certificate: PathBuf,
    /// The file with its private key.
    pub key: PathBuf,
    /// The file with the authority's certificate: what clients are given to trust.
    pub ca_certificate: PathBuf,
    /// Certificate and key, ready to serve with. Its description holds the hash that browsers pin.
    pub identity: Identity,
    /// Why it was made just now; `None` if it was there and is kept.
    pub made: Option<Reason>,
}

impl Leaf {
    /// From when on [`server_leaf`] makes it again: 3 days before its end. A server that runs on should call
    /// again then.
    pub fn renew_at(&self) -> OffsetDateTime {
        self.identity.description.not_after - LEAF_RENEWAL
    }
}

/// Why a leaf was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// There was none, or only half of one.
    Missing,
    /// It has ended, or had less than 3 days left.
    Expiring,
    /// It begins later than now: the clock was set back.
    NotYetValid,
    /// This name was asked for and is not in it.
    LacksName(String),
    /// An earlier authority in this directory had signed it.
    OtherAuthority,
    /// It could not be used; the text says why.
    Unusable(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there was none"),
            Self::Expiring => f.write_str("the last one was at its end"),
            Self::NotYetValid => f.write_str("the last one begins in the future"),
            Self::LacksName(name) => write!(f, "the last one is not valid for {name}"),
            Self::OtherAuthority => f.write_str("the last one was signed by another authority"),
            Self::Unusable(why) => write!(f, "the last one could not be used: {why}"),
        }
    }
}

/// The server's leaf in `directory`, with `names` and `localhost`, `127.0.0.1`, `::1` in it.
///
/// Makes the directory (mode 0700), the authority and the leaf (mode 0600) if they are not there. A leaf is
/// kept if it has at least 3 days left, holds every name asked for, belongs to its key and was signed by the
/// authority; otherwise it is made again, with the names of this call only, valid for 13 days in total. The
/// authority is never overwritten. Safe to call from several processes at once.
///
/// # Errors
/// [`Error::BadName`] before anything is made. Those of [`Authority::open_or_create`]. [`Error::Foreign`] if
/// the certificate there has another issuer, and so is somebody's own. [`Error::Unreadable`],
/// [`Error::Write`].
pub fn server_leaf(directory: &Path, names: &[String]) -> Result<Leaf, Error> {
    server_leaf_at(directory, names, OffsetDateTime::now_utc())
}

/// [`server_leaf`] at a time of the caller's choosing, for a server that renews by its own clock.
///
/// # Errors
/// As [`server_leaf`].
pub fn server_leaf_at(directory: &Path, names: &[String], now: OffsetDateTime) -> Result<Leaf, Error> {
    leaf_at(directory, names, now, [SERVER_CERTIFICATE, SERVER_KEY])
}

/// The same for the operators' endpoint: in files of its own, because the server may have a certificate of another
/// authority for its clients, while operators and the server's endpoint for them know each other by the authority in
/// `directory`.
///
/// # Errors
/// As [`server_leaf`].
pub fn admin_leaf(directory: &Path, names: &[String]) -> Result<Leaf, Error> {
    leaf_at(directory, names, OffsetDateTime::now_utc(), [ADMIN_CERTIFICATE, ADMIN_KEY])
}

fn leaf_at(
    directory: &Path,
    names: &[String],
    now: OffsetDateTime,
    [certificate_file, key_file]: [&str; 2],
) -> Result<Leaf, Error> {
    let names = HostName::wanted(names)?;
    let state = StateDirectory::make(directory)?;
    leaf_in(&state, &names, now, [certificate_file, key_file])
}

/// The server's leaf in a directory that is held, or planned.
pub(crate) fn server_leaf_in(
    state: &StateDirectory,
    names: &[HostName],
    now: OffsetDateTime,
) -> Result<Leaf, Error> {
    leaf_in(state, names, now, [SERVER_CERTIFICATE, SERVER_KEY])
}

/// That of the operators' endpoint.
pub(crate) fn admin_leaf_in(
    state: &StateDirectory,
    names: &[HostName],
    now: OffsetDateTime,
) -> Result<Leaf, Error> {
    leaf_in(state, names, now, [ADMIN_CERTIFICATE, ADMIN_KEY])
}

fn leaf_in(
    state: &StateDirectory,
    names: &[HostName],
    now: OffsetDateTime,
    files: [&str; 2],
) -> Result<Leaf, Error> {
    let authority = Authority::load_or_make(state, now)?;
    let [certificate_file, key_file] = files;
    let (certificate, key) = (state.file(certificate_file), state.file(key_file));
    let (identity, made) = match examine(state, files, &authority, names, now)? {
        Ok(identity) => (identity, None),
        Err(reason) => {
            let issued = authority.issue_to(names, now)?;
            state.write_over(key_file, &issued.key_pem())?;
            state.write_over(certificate_file, issued.certificate_pem())?;
            (load(state, files, now)?, Some(reason))
        }
    };
    Ok(Leaf { certificate, key, ca_certificate: state.file(CA_CERTIFICATE), identity, made })
}

fn load(
    state: &StateDirectory,
    [certificate, key]: [&str; 2],
    now: OffsetDateTime,
) -> Result<Identity, Error> {
    identity(&state.pem(certificate)?, || state.pem(key), now)
}

/// The leaf that is there, or the reason for making one. The outer error ends it: nothing may be overwritten.
fn examine(
    state: &StateDirectory,
    files: [&str; 2],
    authority: &Authority,
    names: &[HostName],
    now: OffsetDateTime,
) -> Result<Result<Identity, Reason>, Error> {
    let authority = authority.parsed()?;
    let [certificate, _] = files;
    refuse_foreign(state, certificate, &authority)?;
    let identity = match load(state, files, now) {
        Ok(identity) => identity,
        Err(error @ Error::Unreadable { .. }) => return Err(error),
        Err(Error::Missing { .. }) => return Ok(Err(Reason::Missing)),
        Err(Error::Expired { .. }) => return Ok(Err(Reason::Expiring)),
        Err(Error::NotYetValid { .. }) => return Ok(Err(Reason::NotYetValid)),
        Err(error) => return Ok(Err(Reason::Unusable(error.to_string()))),
    };
    let reason = reason_to_replace(&identity, &state.file(certificate), &authority, names, now)?;
    Ok(reason.map_or(Ok(identity), Err))
}

/// What a person put there is neither used nor destroyed: a certificate of another issuer, a key, a binary
/// file.
fn refuse_foreign(state: &StateDirectory, name: &str, authority: &X509Certificate<'_>) -> Result<(), Error> {
    let path = &state.file(name);
    let foreign = Error::Foreign { path: path.to_owned() };
    let certificates = match state.pem(name).and_then(|file| file.certificates()) {
        Ok(certificates) => certificates,
        Err(Error::NoCertificate { .. } | Error::Binary { .. } | Error::TooLarge { .. }) => {
            return Err(foreign);
        }
        // Not there or damaged; what is unreadable is reported when it is loaded.
        Err(_) => return Ok(()),
    };
    match certificates.first().map(|der| parse(path, 1, der)) {
        Some(Ok(leaf)) if !names_issuer(&leaf, authority) => Err(foreign),
        _ => Ok(()),
    }
}

fn reason_to_replace(
    identity: &Identity,
    path: &Path,
    authority: &X509Certificate<'_>,
    names: &[HostName],
    now: OffsetDateTime,
) -> Result<Option<Reason>, Error> {
    let Some(der) = identity.chain.first() else {
        return Ok(Some(Reason::Missing));
    };
    let leaf = parse(path, 1, der)?;
    if !is_signed_by(&leaf, authority) {
        return Ok(Some(Reason::OtherAuthority));
    }
    if identity.description.not_after - now < LEAF_RENEWAL {
        return Ok(Some(Reason::Expiring));
    }
    let held = HostName::in_certificate(&leaf);
    Ok(names.iter().find(|name| !held.contains(name)).map(|name| Reason::LacksName(name.to_string())))
}

#[cfg(test)]
mod tests;
