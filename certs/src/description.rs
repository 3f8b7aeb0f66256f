//! What a certificate says, for people: `fanfare certs show`, logs, the web client's pinned hash.
//!
//! In comes a PEM file or a parsed certificate. Out come plain strings. Invariant: no control characters in
//! them, so a certificate cannot steer a terminal. Nothing is judged here: an expired certificate is
//! described like any other.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use fanfare_protocol::visible;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519,
};
use x509_parser::public_key::PublicKey;

use crate::Error;
use crate::certificate::{dates, parse};
use crate::pem_file::PemFile;

/// The most a browser accepts of a pinned certificate's whole validity (W3C WebTransport, "custom certificate
/// requirements").
const PINNABLE: Duration = Duration::days(14);

const P256: &str = "ECDSA P-256";

/// What one certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Whom it is for, as a distinguished name: `CN=Fanfare development server`.
    pub subject: String,
    /// Who issued it, as a distinguished name.
    pub issuer: String,
    /// What it is valid for (subject alternative names): DNS names and IP addresses as they are, other kinds
    /// with the kind before them.
    pub names: Vec<String>,
    /// First second of its validity, UTC.
    pub not_before: OffsetDateTime,
    /// Last second of its validity, UTC.
    pub not_after: OffsetDateTime,
    /// Its serial number, in lower-case hexadecimal; unique among the certificates of one issuer.
    pub serial: String,
    /// Whether it is an authority's.
    pub is_ca: bool,
    /// The kind of its key: `ECDSA P-256`, `Ed25519`, `RSA 2048`, or the algorithm's number.
    pub key_algorithm: String,
    /// SHA-256 of its DER form, in 64 lower-case hexadecimal digits. This is what a browser pins in
    /// `serverCertificateHashes` (W3C WebTransport).
    pub sha256: String,
}

impl Description {
    /// Whether a browser may pin it by its hash: an ECDSA P-256 key and at most 14 days of validity in total
    /// (W3C WebTransport, "custom certificate requirements").
    pub fn is_pinnable(&self) -> bool {
        self.key_algorithm == P256 && self.not_after - self.not_before <= PINNABLE
    }

    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let (not_before, not_after) = dates(certificate);
        Self {
            subject: visible(&certificate.subject().to_string()),
            issuer: visible(&certificate.issuer().to_string()),
            names: names(certificate),
            not_before,
            not_after,
            serial: hex(certificate.raw_serial()),
            is_ca: certificate.is_ca(),
            key_algorithm: key_algorithm(certificate),
            sha256: hex(digest(&SHA256, certificate.as_raw()).as_ref()),
        }
    }
}

/// Describes every certificate in a PEM file, in its order; at least one.
///
/// # Errors
/// [`Missing`](Error::Missing), [`Unreadable`](Error::Unreadable), [`Empty`](Error::Empty),
/// [`TooLarge`](Error::TooLarge) (1 MiB), [`Binary`](Error::Binary), [`NotPem`](Error::NotPem),
/// [`DamagedPem`](Error::DamagedPem), [`NoCertificate`](Error::NoCertificate) (which says what the file
/// holds), [`DamagedCertificate`](Error::DamagedCertificate).
pub fn describe(path: &Path) -> Result<Vec<Description>, Error> {
    let certificates = PemFile::read(path)?.certificates()?;
    (1..).zip(&certificates).map(|(number, der)| Ok(Description::of(&parse(path, number, der)?))).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    extension.value.general_names.iter().map(|name| visible(&name_text(name))).collect()
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => {
            ip_address(bytes).map_or_else(|| format!("IP:{}", hex(bytes)), |ip| ip.to_string())
        }
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(name) => format!("URI:{name}"),
        GeneralName::DirectoryName(name) => format!("directory:{name}"),
        _ => "other".to_owned(),
    }
}

/// An address as certificates write it: 4 or 16 bytes (RFC 5280, section 4.2.1.6).
pub(crate) fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> String {
    let key = certificate.public_key();
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        return match curve {
            Some(curve) if curve == OID_EC_P256 => P256.to_owned(),
            Some(curve) if curve == OID_NIST_EC_P384 => "ECDSA P-384".to_owned(),
            Some(curve) if curve == OID_NIST_EC_P521 => "ECDSA P-521".to_owned(),
            Some(curve) => format!("ECDSA {curve}"),
            None => "ECDSA".to_owned(),
        };
    }
    if *algorithm == OID_SIG_ED25519 {
        return "Ed25519".to_owned();
    }
    match key.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        _ => algorithm.to_id_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SanType,
    };

    use super::*;
    use crate::fixture::{file, now, self_signed, self_signed_with};

    fn described(certificate: &str) -> Description {
        let directory = tempfile::tempdir().unwrap();
        describe(&file(directory.path(), "cert.pem", certificate)).unwrap().remove(0)
    }

    #[test]
    fn says_what_the_certificate_says() {
        let (certificate, _) = self_signed(|params| {
            params.serial_number = Some(0x00ab_cdef_u64.into());
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "chat");
            let uri = SanType::URI("https://chat.example/".try_into().unwrap());
            params.subject_alt_names.extend([SanType::IpAddress("2001:db8::1".parse().unwrap()), uri]);
        });
        let description = described(&certificate);
        assert_eq!(description.subject, "CN=chat");
        assert_eq!(description.issuer, "CN=chat");
        assert_eq!(description.names, ["chat.example", "2001:db8::1", "URI:https://chat.example/"]);
        assert_eq!(description.not_before, now() - Duration::days(5));
        assert_eq!(description.not_after, now() + Duration::days(5));
        assert_eq!(description.serial.trim_start_matches('0'), "abcdef");
        assert!(!description.is_ca);
        assert_eq!(description.key_algorithm, "ECDSA P-256");
        assert_eq!(description.sha256.len(), 64);
    }

    #[test]
    fn the_hash_is_of_the_der_form() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "cert.pem", self_signed(|_| {}).0);
        let der = PemFile::read(&path).unwrap().certificates().unwrap().remove(0);
        assert_eq!(describe(&path).unwrap()[0].sha256, hex(digest(&SHA256, &der).as_ref()));
        assert_eq!(hex(digest(&SHA256, b"abc").as_ref())[..16], *"ba7816bf8f01cfea");
    }

    #[test]
    fn names_the_kinds_of_keys() {
        for (algorithm, name) in [
            (&PKCS_ECDSA_P384_SHA384, "ECDSA P-384"),
            (&PKCS_ED25519, "Ed25519"),
            (&PKCS_RSA_SHA256, "RSA 2048"),
        ] {
            let certificate = self_signed_with(KeyPair::generate_for(algorithm).unwrap(), |_| {}).0;
            let description = described(&certificate);
            assert_eq!(description.key_algorithm, name);
            assert!(!description.is_pinnable(), "browsers pin ECDSA P-256 only");
        }
    }

    #[test]
    fn fourteen_days_are_pinnable_and_a_second_more_is_not() {
        let lasting =
            |length| described(&self_signed(|p| p.not_after = p.not_before + length).0).is_pinnable();
        assert!(lasting(Duration::days(14)));
        assert!(!lasting(Duration::days(14) + Duration::SECOND));
    }

    #[test]
    fn a_certificate_cannot_steer_the_terminal() {
        let description = described(
            &self_signed(|params| {
                params.distinguished_name = DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, "a\u{1b}[2Jb\nc\u{202e}d\u{2800}e");
                params.subject_alt_names = vec![SanType::DnsName("x\u{7}y".try_into().unwrap())];
            })
            .0,
        );
        let shown = format!("{}{}{}", description.subject, description.issuer, description.names.concat());
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(shown.contains("a\\u{1b}[2Jb\\u{a}c\\u{202e}d\\u{2800}e"), "{shown}");
    }

    #[test]
    fn describes_a_whole_chain_and_refuses_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let (first, key) = self_signed(|_| {});
        let path = file(directory.path(), "chain.pem", first + &self_signed(|_| {}).0);
        assert_eq!(describe(&path).unwrap().len(), 2);
        let path = file(directory.path(), "key.pem", key.serialize_pem());
        let text = describe(&path).unwrap_err().to_string();
        assert!(text.contains("key.pem holds a private key, not a certificate"), "{text}");
    }
}
