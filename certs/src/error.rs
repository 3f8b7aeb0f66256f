//! Everything that can go wrong with a certificate, a key or the directory they live in.
//!
//! In come file names and causes; out comes one English sentence per failure: which file, what is wrong with
//! it, and what to do. Invariant: no variant carries bytes of a file, so key material cannot reach a log.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Why certificates could not be loaded, made or stored.
///
/// The text of each variant is complete in itself: it includes its cause, so `source` is empty throughout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there.
    #[error("{} does not exist; check the path, or make development certificates", path.display())]
    Missing {
        /// The file that was looked for.
        path: PathBuf,
    },

    /// The file is there but cannot be read: rights, or a directory of that name.
    #[error("cannot read {}: {cause}; check its owner and its mode", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },

    /// The file has no bytes.
    #[error("{} is empty; copy it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },

    /// The file is larger than any PEM file this crate reads.
    #[error("{} is larger than {limit} bytes, which no certificate file is; check the path", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        limit: u64,
    },

    /// A certificate, a key or a bundle in binary form.
    #[error("{} holds {what} in binary form (DER), not PEM; convert it with `{command}`", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
        /// A command that converts it.
        command: String,
    },

    /// The file has no PEM section at all.
    #[error("{} is not a PEM file: it has no line that starts with `-----BEGIN`", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
    },

    /// Something in the file looks like a PEM section and is none: cut off, not base64, and the like.
    #[error("{} has {reason}; copy the file again", path.display())]
    DamagedPem {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        reason: fanfare_pem::Error,
    },

    /// A section among certificates that would have to be left out.
    #[error("{} has {unused}", path.display())]
    UnusedSection {
        /// The file.
        path: PathBuf,
        /// What it is, and in which line.
        unused: fanfare_pem::Unused,
    },

    /// A private key stands where the certificate should.
    #[error("{} holds a private key, not a certificate (were the two files swapped?)", path.display())]
    KeyInsteadOfCertificate {
        /// The file given as the certificate.
        path: PathBuf,
    },

    /// A certificate stands where the private key should.
    #[error("{} holds a certificate, not a private key (were the two files swapped?)", path.display())]
    CertificateInsteadOfKey {
        /// The file given as the key.
        path: PathBuf,
    },

    /// A PEM file without a certificate.
    #[error(
        "{} holds {found}, not a certificate; give the file that starts with `-----BEGIN \
         CERTIFICATE-----`",
        path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        found: &'static str,
    },

    /// A PEM file without a private key.
    #[error(
        "{} holds {found}, not a private key; give the file that starts with `-----BEGIN PRIVATE \
         KEY-----`",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        found: &'static str,
    },

    /// More than one private key in one file.
    #[error(
        "{} holds {count} private keys; leave only the one that belongs to the certificate",
        path.display()
    )]
    SeveralKeys {
        /// The file.
        path: PathBuf,
        /// How many keys it holds.
        count: usize,
    },

    /// The key is protected by a passphrase.
    #[error(
        "the private key in {0} is encrypted; decrypt it with `openssl pkey -in {0} -out \
         decrypted-key.pem` and give that file",
        path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },

    /// A key of a kind that TLS here cannot use.
    #[error(
        "the private key in {} is {kind}, which is not supported; use {}",
        path.display(), SUPPORTED_KEYS
    )]
    UnsupportedKey {
        /// The file.
        path: PathBuf,
        /// What kind of key it is.
        kind: String,
    },

    /// A key of a supported kind that does not parse.
    #[error(
        "the private key in {} is damaged or on an unsupported curve; copy it again, or use {}",
        path.display(), SUPPORTED_KEYS
    )]
    DamagedKey {
        /// The file.
        path: PathBuf,
    },

    /// The key and the certificate are not a pair.
    #[error(
        "the private key in {} does not belong to the first certificate in {}; give the two files that \
         were made together",
        key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },

    /// A certificate that does not parse.
    #[error(
        "certificate number {number} in {} is damaged or not usable: {reason}; copy it again or have it \
         issued again",
        path.display()
    )]
    DamagedCertificate {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, counted from 1.
        number: usize,
        /// What the parser said.
        reason: String,
    },

    /// A certificate whose time is over.
    #[error("certificate number {number} in {} expired at {}; renew it", path.display(), Instant(*not_after))]
    Expired {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, counted from 1.
        number: usize,
        /// The last second in which it was valid.
        not_after: OffsetDateTime,
    },

    /// A certificate whose time has not come.
    #[error(
        "certificate number {number} in {} is not valid until {}; check this machine's clock, or wait",
        path.display(), Instant(*not_before)
    )]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, counted from 1.
        number: usize,
        /// The first second in which it is valid.
        not_before: OffsetDateTime,
    },

    /// The first certificate is an authority's, which no client accepts from a server.
    #[error(
        "the first certificate in {} is a CA certificate, which clients refuse from a server; \
         put the server's own certificate first (self-signed with openssl? Add \
         `-addext basicConstraints=critical,CA:FALSE`)",
        path.display()
    )]
    AuthorityAsLeaf {
        /// The file.
        path: PathBuf,
    },

    /// The first certificate's extended key usage leaves servers out (RFC 5280, section 4.2.1.12).
    #[error(
        "the first certificate in {} is not issued for servers (its extended key usage lacks serverAuth); \
         have one issued that is",
        path.display()
    )]
    NotForServers {
        /// The file.
        path: PathBuf,
    },

    /// The authority's certificate may not sign others.
    #[error("the certificate in {} is not a CA certificate that may sign others", path.display())]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
    },

    /// Only one of the authority's two files is there.
    #[error("{} is there but {} is missing", present.display(), missing.display())]
    HalfAuthority {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },

    /// The development authority is there but cannot be used.
    #[error(
        "{cause}. The development authority in {} cannot be used: put its files back from a backup, \
         or replace it and give every client the new {}",
        directory.display(), crate::CA_CERTIFICATE
    )]
    UnusableAuthority {
        /// The authority's directory.
        directory: PathBuf,
        /// What is wrong with it.
        cause: Box<Error>,
    },

    /// A file that would have to be overwritten.
    #[error(
        "{} exists and is not overwritten; choose another directory, or replace the authority in this \
         one: every client and every operator then needs the new {}, and every certificate of an operator or a user has to \
         be issued again",
        path.display(), crate::CA_CERTIFICATE
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },

    /// An operator has a certificate already.
    #[error(
        "{} exists and is not overwritten, as that certificate stays valid; choose another name or another \
         directory, or revoke that of {name} first",
        path.display()
    )]
    OperatorExists {
        /// The operator.
        name: String,
        /// The file.
        path: PathBuf,
    },

    /// A user has a certificate already.
    #[error(
        "{} exists and is not overwritten, as that certificate stays valid; choose another name or another \
         directory, or have its serial number refused first and remove the file",
        path.display()
    )]
    UserExists {
        /// The file.
        path: PathBuf,
    },

    /// A file that was made while the files beside it were being looked at.
    #[error("{} was made by another process at this moment; start again", path.display())]
    MadeMeanwhile {
        /// The file.
        path: PathBuf,
    },

    /// Not a name for an operator or a user here.
    #[error("{name:?} is no name for a certificate: {reason}")]
    BadClientName {
        /// As it was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A certificate for too short or too long a time.
    #[error("a client's certificate lasts from a minute to ten years")]
    BadLifetime,

    /// There is no certificate of this operator.
    #[error(
        "there is no certificate of an operator {name:?} ({} does not exist); give its file if it is elsewhere",
        path.display()
    )]
    NoOperator {
        /// The name.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },

    /// A certificate that the authority in the state directory did not issue.
    #[error("{} was not issued by the authority in the state directory", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },

    /// A certificate that names no operator.
    #[error("the certificate is not an operator's: {reason}")]
    NotAnOperator {
        /// Why not.
        reason: String,
    },

    /// A certificate that names no user.
    #[error("the certificate is not a user's: {reason}")]
    NotAUser {
        /// Why not.
        reason: String,
    },

    /// An operator's certificate that was revoked.
    #[error("the certificate of the operator {name:?} was revoked")]
    Revoked {
        /// The operator.
        name: String,
    },

    /// The list of revoked certificates cannot be used, so no operator is let in.
    #[error("{}: {reason}; put a backup in its place (without a list it would not be known who was revoked)", path.display())]
    DamagedRevocations {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The server certificate in the directory is somebody else's, so it is neither used nor overwritten.
    #[error(
        "{} was not issued by the development authority beside it and is not overwritten; move it \
         elsewhere and give it as the server's own",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },

    /// A name that cannot stand in a certificate.
    #[error("{name:?} cannot stand in a certificate: {reason}")]
    BadName {
        /// The name as it was given.
        name: String,
        /// What is wrong with it, and what to give.
        reason: &'static str,
    },

    /// The directory could not be made.
    #[error(
        "cannot make the directory {}: {cause}; check the rights of the directory above it",
        path.display()
    )]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },

    /// The lock that keeps two processes apart could not be taken.
    #[error(
        "cannot lock {}: {cause}; check the directory's rights, and that its file system knows locks",
        path.display()
    )]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },

    /// A file could not be written.
    #[error("cannot write {}: {cause}; check the directory's rights and the free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },

    /// A key could not be made or a certificate not be signed.
    #[error("cannot make {what}: {reason}; please report this")]
    Generate {
        /// What was being made.
        what: &'static str,
        /// What the certificate library said.
        reason: String,
    },
}

/// The kinds of key that rustls with aws-lc-rs signs with.
const SUPPORTED_KEYS: &str = "ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 to 8192 bits)";

impl Error {
    /// Says of an error in the authority's files what it means for the authority.
    ///
    /// What may pass by itself (rights, a lock, a full disk) stays as it is: advice to make a new authority
    /// would be wrong.
    pub(crate) fn of_authority(self, directory: &Path) -> Self {
        match self {
            Self::Unreadable { .. }
            | Self::Lock { .. }
            | Self::Write { .. }
            | Self::CreateDirectory { .. } => self,
            cause => Self::UnusableAuthority { directory: directory.to_owned(), cause: Box::new(cause) },
        }
    }
}

/// A point in time as RFC 3339, in UTC: `2026-11-23T23:28:00Z`.
struct Instant(OffsetDateTime);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Years beyond 9999 have no RFC 3339 form; a certificate with such a date is still worth a message.
        match self.0.format(&Rfc3339) {
            Ok(text) => f.write_str(&text),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}
