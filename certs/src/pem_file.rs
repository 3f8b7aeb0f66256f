//! One PEM file: from bytes on disk to certificates and a private key (RFC 7468).
//!
//! In comes a path. Out come DER certificates or one DER key, unparsed, or an [`Error`] that says what the
//! file holds instead. Invariants: at most [`SIZE_LIMIT`] bytes are read; no error repeats a byte of the
//! file, since it may be a key.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

/// The most that is read of a file, in bytes. A system's whole root bundle is about 220 kB.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// A file that holds at least one PEM section. Has no `Debug`, since it may hold a key.
pub(crate) struct PemFile {
    path: PathBuf,
    bytes: Vec<u8>,
    labels: Vec<String>,
}

impl PemFile {
    /// Reads a file and finds its PEM sections.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, read_limited(path)?)
    }

    /// The same of bytes that are, or are to be, in the file of this name.
    pub(crate) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        let labels = labels(&bytes);
        if labels.is_empty() {
            return Err(binary(path, &bytes).unwrap_or_else(|| Error::NotPem { path: path.to_owned() }));
        }
        Ok(Self { path: path.to_owned(), bytes, labels })
    }

    /// The name of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every certificate in the file, in its order; at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let certificates: Vec<_> = self
            .sections()?
            .into_iter()
            .filter_map(|(kind, der)| CertificateDer::from_pem(kind, der))
            .collect();
        if certificates.is_empty() {
            return Err(Error::NoCertificate { path: self.path.clone(), found: self.found() });
        }
        Ok(certificates)
    }

    /// The text of the first certificate alone, without whatever stands around it.
    pub(crate) fn first_certificate_text(&self) -> String {
        let mut text = String::new();
        let from_begin = lines(&self.bytes).skip_while(|line| *line != b"-----BEGIN CERTIFICATE-----");
        for line in from_begin.filter(|line| !line.is_empty()) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
            if line == b"-----END CERTIFICATE-----" {
                break;
            }
        }
        text
    }

    /// The one private key in the file, in whichever of the three unencrypted forms (PKCS#8, PKCS#1, SEC1).
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let path = self.path.clone();
        match self.keys() {
            0 if self.holds_certificate() => return Err(Error::CertificateInsteadOfKey { path }),
            0 => {
                return Err(Error::NoKey { path, found: self.found() });
            }
            1 => {}
            count => return Err(Error::SeveralKeys { path, count }),
        }
        if self.is_encrypted() {
            return Err(Error::EncryptedKey { path });
        }
        let key = self.sections()?.into_iter().find_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
        // A label that ends in PRIVATE KEY and is none of the three forms: DSA, OpenSSH.
        key.ok_or_else(|| Error::UnsupportedKey { path, kind: self.key_form().to_owned() })
    }

    /// The one revocation list in the file.
    pub(crate) fn revocation_list(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut lists = self.sections()?.into_iter().filter(|(kind, _)| *kind == SectionKind::Crl);
        // Two would leave open which one counts.
        Ok(lists.next().filter(|_| lists.next().is_none()).map(|(_, der)| der))
    }

    /// Whether there is a private key in it, encrypted or not.
    pub(crate) fn holds_key(&self) -> bool {
        self.keys() > 0
    }

    /// Whether there is a certificate in it.
    pub(crate) fn holds_certificate(&self) -> bool {
        self.labels.iter().any(|label| label == "CERTIFICATE")
    }

    fn keys(&self) -> usize {
        self.labels.iter().filter(|label| label.ends_with("PRIVATE KEY")).count()
    }

    /// PKCS#8 says so in its label; the older forms in a header line (RFC 1421).
    fn is_encrypted(&self) -> bool {
        self.labels.iter().any(|label| label == "ENCRYPTED PRIVATE KEY")
            || lines(&self.bytes).any(|line| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED"))
    }

    /// The decoded sections of kinds that TLS knows; others are passed over.
    fn sections(&self) -> Result<Vec<(SectionKind, Vec<u8>)>, Error> {
        // The decoder's own error may quote a line of the file, so it is dropped.
        <(SectionKind, Vec<u8>)>::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|_| Error::DamagedPem { path: self.path.clone() })
    }

    /// What the file holds, for a message that says it is not what was wanted.
    fn found(&self) -> &'static str {
        match self.labels.first().map_or("", String::as_str) {
            label if label.ends_with("PRIVATE KEY") => "a private key",
            "CERTIFICATE" => "a certificate",
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
                "a certificate request (what is sent to an authority, not what comes back)"
            }
            "TRUSTED CERTIFICATE" => "a certificate in OpenSSL's own form (convert it with `openssl x509`)",
            "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key",
            "X509 CRL" => "a revocation list",
            "EC PARAMETERS" => "the parameters of a curve",
            "PKCS7" | "CMS" => "a PKCS#7 bundle (convert it with `openssl pkcs7 -print_certs`)",
            _ => "something else",
        }
    }

    fn key_form(&self) -> &'static str {
        match self.labels.iter().find(|label| label.ends_with("PRIVATE KEY")).map_or("", String::as_str) {
            "OPENSSH PRIVATE KEY" => "an OpenSSH key",
            "DSA PRIVATE KEY" => "a DSA key",
            _ => "a key of an unknown form",
        }
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

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii_end)
}

/// The labels of all sections: `CERTIFICATE`, `PRIVATE KEY` and so on.
fn labels(bytes: &[u8]) -> Vec<String> {
    lines(bytes)
        .filter_map(|line| line.strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----"))
        .map(|label| String::from_utf8_lossy(label).into_owned())
        .collect()
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
