//! The development authority: a certificate that clients trust, and the key that signs server leaves.
//!
//! In comes a state directory. Out come an [`Authority`] and the leaves it issues. Invariants: the key on
//! disk belongs to the certificate on disk, also when two processes start at once; neither is overwritten
//! except by [`Authority::replace`]; the key is in no `Debug` text.

use std::fmt;
use std::path::{Path, PathBuf};

use fanfare_protocol::admin::Role;
use rcgen::{CertificateRevocationListParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;

use crate::Error;
use crate::certificate::{check_dates, dates, may_sign, parse};
use crate::file_names::{CA_CERTIFICATE, CA_KEY, OPERATORS_REVOKED, SERVER_CERTIFICATE, SERVER_KEY};
use crate::host_name::HostName;
use crate::private_key::check_pair;
use crate::profile;
use crate::state_directory::StateDirectory;

/// A development authority, able to sign.
///
/// ECDSA P-256, valid for 10 years, `CA:TRUE` with path length 0, usable for certificates and revocation
/// lists (RFC 5280). An authority of the user's own in the same two files works too, if its key is one that
/// TLS supports.
pub struct Authority {
    path: PathBuf,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    not_after: OffsetDateTime,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("not_after", &self.not_after)
            .field("key", &"[hidden]")
            .finish_non_exhaustive()
    }
}

/// A certificate that an [`Authority`] issued, with its private key; in memory only.
pub struct Issued {
    certificate_pem: String,
    key: KeyPair,
}

impl Issued {
    /// The certificate, as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, as PEM (PKCS#8, unencrypted). Write it only to a file of mode 0600.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("certificate_pem", &self.certificate_pem)
            .field("key", &"[hidden]")
            .finish()
    }
}

impl Authority {
    /// Opens the authority in `directory`; `None` if there is none. Makes neither the directory nor an
    /// authority.
    ///
    /// # Errors
    /// [`Error::UnusableAuthority`] with the cause in it if it is half there, damaged, expired, not an
    /// authority, or its key does not belong to its certificate. [`Error::Unreadable`] or [`Error::Lock`] if
    /// the files cannot be reached.
    pub fn open(directory: &Path) -> Result<Option<Self>, Error> {
        match StateDirectory::existing(directory)? {
            Some(state) => Self::load(&state, OffsetDateTime::now_utc()),
            None => Ok(None),
        }
    }

    /// Makes an authority in `directory`, and the directory too if need be (mode 0700, files 0600).
    ///
    /// # Errors
    /// [`Error::Exists`], naming the file, if any of the four files is there already: a server's pair without
    /// an authority is not ours to replace. [`Error::CreateDirectory`], [`Error::Lock`] or [`Error::Write`]
    /// if the disk refuses.
    pub fn create(directory: &Path) -> Result<Self, Error> {
        Self::make(&StateDirectory::make(directory)?, OffsetDateTime::now_utc())
    }

    /// Opens the authority in `directory`, or makes one if there is none. Safe to call from several processes
    /// at once.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(directory: &Path) -> Result<Self, Error> {
        Self::load_or_make(&StateDirectory::make(directory)?, OffsetDateTime::now_utc())
    }

    /// Makes a new authority in place of the one in `directory`, and removes the leaf and the revocation list of the
    /// old one. Operators need new certificates, too.
    ///
    /// For `fanfare certs create --force` only: every client that trusts the old certificate must be given
    /// the new one. `names` are those that a leaf is to have then.
    ///
    /// # Errors
    /// [`Error::BadName`] before anything is touched. [`Error::CreateDirectory`], [`Error::Lock`] or [`Error::Write`]
    /// if the disk refuses. A crash half-way leaves files that [`open`](Self::open) reports; calling this again mends
    /// it.
    pub fn replace(directory: &Path, names: &[String]) -> Result<Self, Error> {
        HostName::wanted(names)?;
        let state = StateDirectory::make(directory)?;
        state.remove(SERVER_CERTIFICATE)?;
        state.remove(SERVER_KEY)?;
        // It was about certificates that nobody takes any more, and nobody would take it.
        state.remove(OPERATORS_REVOKED)?;
        Self::generate(&state, OffsetDateTime::now_utc(), StateDirectory::write_over)
    }

    /// The authority's certificate, as PEM: what clients are given to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a leaf for a server called `names`, and for `localhost`, `127.0.0.1` and `::1`.
    ///
    /// ECDSA P-256, valid from an hour before `now` for 13 days in total (or until the authority ends), so
    /// that a browser may pin it (W3C WebTransport allows 14). Names are DNS names, perhaps with `*.` before
    /// them, or IP addresses.
    ///
    /// # Errors
    /// [`Error::BadName`] for the first name that is neither. [`Error::Generate`] if signing fails.
    pub fn issue_server(&self, names: &[String], now: OffsetDateTime) -> Result<Issued, Error> {
        self.issue_to(&HostName::wanted(names)?, now)
    }

    pub(crate) fn issue_to(&self, names: &[HostName], now: OffsetDateTime) -> Result<Issued, Error> {
        let params = profile::server(names, now, self.not_after)?;
        let key = generate_key()?;
        let certificate =
            params.signed_by(&key, &self.issuer).map_err(|error| failed("a server certificate", &error))?;
        Ok(Issued { certificate_pem: certificate.pem(), key })
    }

    /// A certificate for a client: an operator's with a role, a user's without.
    pub(crate) fn issue_client(
        &self,
        name: &str,
        role: Option<Role>,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Issued, Error> {
        let params = profile::client(name, role, lifetime, now, self.not_after);
        let key = generate_key()?;
        let certificate =
            params.signed_by(&key, &self.issuer).map_err(|error| failed("a client's certificate", &error))?;
        Ok(Issued { certificate_pem: certificate.pem(), key })
    }

    /// Signs a revocation list; gives it as PEM.
    pub(crate) fn sign_list(&self, list: &CertificateRevocationListParams) -> Result<String, Error> {
        let signed = list.signed_by(&self.issuer).and_then(|list| list.pem());
        signed.map_err(|error| failed("the list of revoked certificates", &error))
    }

    pub(crate) fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    pub(crate) fn parsed(&self) -> Result<X509Certificate<'_>, Error> {
        parse(&self.path, 1, &self.certificate)
    }

    pub(crate) fn load_or_make(state: &StateDirectory, now: OffsetDateTime) -> Result<Self, Error> {
        match Self::load(state, now)? {
            Some(authority) => Ok(authority),
            // A server's pair of somebody's own may lie beside it; it stays as it is.
            None => Self::generate(state, now, StateDirectory::write_new),
        }
    }

    pub(crate) fn load(state: &StateDirectory, now: OffsetDateTime) -> Result<Option<Self>, Error> {
        let (certificate, key) = (state.file(CA_CERTIFICATE), state.file(CA_KEY));
        let loaded = match (state.holds(CA_CERTIFICATE)?, state.holds(CA_KEY)?) {
            (false, false) => return Ok(None),
            (true, true) => Self::from_files(state, now),
            (true, false) => Err(Error::HalfAuthority { present: certificate, missing: key }),
            (false, true) => Err(Error::HalfAuthority { present: key, missing: certificate }),
        };
        loaded.map(Some).map_err(|error| error.of_authority(state.path()))
    }

    fn from_files(state: &StateDirectory, now: OffsetDateTime) -> Result<Self, Error> {
        let (path, key_path) = (&state.file(CA_CERTIFICATE), &state.file(CA_KEY));
        let file = state.pem(CA_CERTIFICATE)?;
        // The first is the authority's own; what follows would be its issuers.
        let Some(certificate) = file.certificates()?.into_iter().next() else {
            return Err(Error::Empty { path: path.to_owned() });
        };
        let parsed = parse(path, 1, &certificate)?;
        if !may_sign(&parsed) {
            return Err(Error::NotAnAuthority { path: path.to_owned() });
        }
        check_dates(path, 1, &parsed, now)?;
        let key = state.pem(CA_KEY)?.key()?;
        check_pair(path, &certificate, key_path, &key)?;
        let key = KeyPair::try_from(&key)
            .map_err(|error| Error::UnsupportedKey { path: key_path.to_owned(), kind: error.to_string() })?;
        Self::assemble(path, certificate, file.first_certificate_text(), key)
    }

    fn assemble(
        path: &Path,
        certificate: CertificateDer<'static>,
        certificate_pem: String,
        key: KeyPair,
    ) -> Result<Self, Error> {
        let not_after = dates(&parse(path, 1, &certificate)?).1;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| {
            Error::DamagedCertificate { path: path.to_owned(), number: 1, reason: error.to_string() }
        })?;
        Ok(Self { path: path.to_owned(), certificate, certificate_pem, not_after, issuer })
    }

    fn make(state: &StateDirectory, now: OffsetDateTime) -> Result<Self, Error> {
        for name in [CA_CERTIFICATE, CA_KEY, SERVER_CERTIFICATE, SERVER_KEY] {
            if state.holds(name)? {
                return Err(Error::Exists { path: state.file(name) });
            }
        }
        Self::generate(state, now, StateDirectory::write_new)
    }

    fn generate(
        state: &StateDirectory,
        now: OffsetDateTime,
        write: impl Fn(&StateDirectory, &str, &str) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let key = generate_key()?;
        let certificate = profile::authority(now)
            .self_signed(&key)
            .map_err(|error| failed("the authority's certificate", &error))?;
        // The key first: a certificate without its key might be handed to clients and then never sign
        // anything.
        write(state, CA_KEY, &key.serialize_pem())?;
        write(state, CA_CERTIFICATE, &certificate.pem())?;
        let pem = certificate.pem();
        Self::assemble(&state.file(CA_CERTIFICATE), certificate.into(), pem, key)
    }
}

fn generate_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed("a private key", &error))
}

fn failed(what: &'static str, error: &rcgen::Error) -> Error {
    Error::Generate { what, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
