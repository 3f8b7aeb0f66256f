//! One PEM file: from bytes on disk to certificates and a private key (RFC 7468).
//!
//! In comes a path. Out come DER certificates or one DER key, unparsed, or an [`Error`] that says what the
//! file holds instead. Invariants: at most [`SIZE_LIMIT`] bytes are read; no error repeats a byte of the
//! file, since it may be a key.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use fanfare_pem::Block;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

/// The most that is read of a file, in bytes. A system's whole root bundle is about 220 kB.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// A file that holds at least one PEM section. Has no `Debug`, since it may hold a key.
pub(crate) struct PemFile {
    path: PathBuf,
    blocks: Vec<Block>,
}

impl PemFile {
    /// Reads a file and finds its PEM sections.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &read_limited(path)?)
    }

    /// The same of bytes that are, or are to be, in the file of this name.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        let blocks = fanfare_pem::parse(bytes)
            .map_err(|reason| Error::DamagedPem { path: path.to_owned(), reason })?;
        if blocks.is_empty() {
            return Err(binary(path, bytes).unwrap_or_else(|| Error::NotPem { path: path.to_owned() }));
        }
        Ok(Self { path: path.to_owned(), blocks })
    }

    /// The name of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every certificate in the file, in its order; at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let certificates = fanfare_pem::certificates(&self.blocks)
            .map_err(|unused| Error::UnusedSection { path: self.path.clone(), unused })?;
        if certificates.is_empty() {
            return Err(Error::NoCertificate { path: self.path.clone(), found: self.found() });
        }
        Ok(certificates.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect())
    }

    /// The text of the first certificate alone, without whatever stands around it.
    pub(crate) fn first_certificate_text(&self) -> String {
        let first = self.blocks.iter().find(|block| fanfare_pem::is_certificate(block.label()));
        first.map(|block| fanfare_pem::encode("CERTIFICATE", block.der())).unwrap_or_default()
    }

    /// The one private key in the file, in whichever of the three unencrypted forms (PKCS#8, PKCS#1, SEC1).
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let path = self.path.clone();
        let mut keys = self.keys();
        let key = match (keys.next(), keys.count()) {
            (None, _) if self.holds_certificate() => return Err(Error::CertificateInsteadOfKey { path }),
            (None, _) => return Err(Error::NoKey { path, found: self.found() }),
            (Some(key), 0) => key,
            (Some(_), more) => return Err(Error::SeveralKeys { path, count: more + 1 }),
        };
        if key.is_encrypted() {
            return Err(Error::EncryptedKey { path });
        }
        let der = key.der().to_vec();
        let kind = match key.label() {
            "PRIVATE KEY" => return Ok(PrivateKeyDer::Pkcs8(der.into())),
            "RSA PRIVATE KEY" => return Ok(PrivateKeyDer::Pkcs1(der.into())),
            "EC PRIVATE KEY" => return Ok(PrivateKeyDer::Sec1(der.into())),
            "OPENSSH PRIVATE KEY" => "an OpenSSH key",
            "DSA PRIVATE KEY" => "a DSA key",
            _ => "a key of an unknown form",
        };
        Err(Error::UnsupportedKey { path, kind: kind.to_owned() })
    }

    /// The one revocation list in the file.
    pub(crate) fn revocation_list(&self) -> Option<&[u8]> {
        let mut lists = self.blocks.iter().filter(|block| block.label() == "X509 CRL");
        // Two would leave open which one counts.
        lists.next().filter(|_| lists.next().is_none()).map(Block::der)
    }

    /// Whether there is a private key in it, encrypted or not.
    pub(crate) fn holds_key(&self) -> bool {
        self.keys().next().is_some()
    }

    /// Whether there is a certificate in it.
    pub(crate) fn holds_certificate(&self) -> bool {
        self.blocks.iter().any(|block| fanfare_pem::is_certificate(block.label()))
    }

    fn keys(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| fanfare_pem::is_key(block.label()))
    }

    /// What the file holds, for a message that says it is not what was wanted.
    fn found(&self) -> &'static str {
        fanfare_pem::describe(self.blocks.first().map_or("", Block::label))
    }
}

fn read_limited(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |cause: std::io::Error| match cause.kind() {
        ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::Unreadable { path: path.to_owned(), cause },
    };
    let mut bytes = Vec::new();
    // One byte more than the limit, to tell a full file from one that goes on.
    let read = File::open(path)
        .and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if read as u64 > SIZE_LIMIT {
        return Err(Error::TooLarge { path: path.to_owned(), limit: SIZE_LIMIT });
    }
    Ok(bytes)
}

/// Says what a binary file is, if it is something one meets: a certificate, a key, a PKCS#12 bundle.
fn binary(path: &Path, bytes: &[u8]) -> Option<Error> {
    let file = path.display();
    let (what, command) = if x509_parser::parse_x509_certificate(bytes).is_ok() {
        ("a certificate", format!("openssl x509 -inform der -in {file} -out {file}.pem"))
    } else if is_pkcs12(bytes) {
        ("a PKCS#12 bundle", format!("openssl pkcs12 -in {file} -out {file}.pem -nodes"))
    } else if PrivateKeyDer::try_from(bytes).is_ok() {
        ("a private key", format!("openssl pkey -inform der -in {file} -out {file}.pem"))
    } else {
        return None;
    };
    Some(Error::Binary { path: path.to_owned(), what, command })
}

/// A PFX is a sequence that begins with the version number 3 (RFC 7292, section 4).
fn is_pkcs12(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x30, 0x82, _, _, 2, 1, 3, ..] | [0x30, 0x83, _, _, _, 2, 1, 3, ..] | [0x30, 0x80, 2, 1, 3, ..]
    )
}
