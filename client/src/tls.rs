//! TLS: whom to trust, and what QUIC is told about it.
//!
//! In: [`Roots`]. Out: the client half of a TLS 1.3 configuration, and a few words on who is trusted, for error
//! messages.
//!
//! Invariants: the crypto provider is given, never taken from the process, whose owner may have chosen another; a file
//! that cannot be used in full is an error that names it, so that nobody trusts less than they think.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use fanfare_pem::Block;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Roots;
use crate::error::RootsError;

/// The most that is read of a file, in bytes. A system's whole root bundle is about 220 kB.
const SIZE_LIMIT: u64 = 4 << 20;

/// A TLS configuration.
#[derive(Clone)]
pub(crate) struct Trust {
    pub(crate) crypto: Arc<QuicClientConfig>,
    /// For TCP, where the same authorities are trusted, and nothing is shown.
    pub(crate) tls: Arc<rustls::ClientConfig>,
    /// Who is trusted, as part of a sentence.
    pub(crate) roots: String,
}

/// Reads the roots, and the certificate and the key to prove oneself with, if there are. Blocks: it reads files.
pub(crate) fn load(
    roots: Roots,
    protocol: &[u8],
    proof: Option<(&Path, &Path)>,
) -> Result<Trust, RootsError> {
    let (store, roots) = match roots {
        Roots::System => (system()?, system_words()),
        Roots::Pem(path) => {
            let store = roots_in(&path)?;
            let words = format!("the {} in {}", those(store.len()), path.display());
            (store, words)
        }
        Roots::Store(store) if store.is_empty() => return Err(RootsError::EmptyStore),
        Roots::Store(store) => {
            let words = format!("the {} that the application gave", those(store.len()));
            (store, words)
        }
    };
    let proof = proof.map(|(certificate, key)| credentials(certificate, key)).transpose()?;
    let tls = |detail| RootsError::Tls { detail };
    let over_tcp = over_tcp(store.clone()).map_err(tls)?;
    let crypto = crypto(store, protocol, proof).map_err(tls)?;
    Ok(Trust { crypto: Arc::new(crypto), tls: Arc::new(over_tcp), roots })
}

/// aws-lc-rs, with AES-128 before AES-256, as browsers have it: both are beyond reach, and the shorter key is a fifth
/// less work for every packet and every hash of the handshake.
pub(crate) fn provider() -> rustls::crypto::CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// A certificate, any between it and its authority, and its key.
type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn credentials(certificate: &Path, key: &Path) -> Result<Credentials, RootsError> {
    let chain: Vec<_> =
        pem_file(certificate, certificates_of)?.into_iter().map(CertificateDer::from).collect();
    if chain.is_empty() {
        return Err(RootsError::Empty { path: certificate.to_owned() });
    }
    Ok((chain, pem_file(key, key_of)?))
}

/// Reads a PEM file, and takes something of it.
fn pem_file<T>(path: &Path, take: impl FnOnce(&[Block]) -> Result<T, String>) -> Result<T, RootsError> {
    let mut bytes = Vec::new();
    // One byte more than the limit, to tell a full file from one that goes on.
    let read = File::open(path).and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes));
    let read = read.map_err(|source| RootsError::Read { path: path.to_owned(), source: Arc::new(source) })?;
    let refused = |detail| RootsError::Pem { path: path.to_owned(), detail };
    if read as u64 > SIZE_LIMIT {
        return Err(refused(format!("it is larger than {SIZE_LIMIT} bytes")));
    }
    let blocks = fanfare_pem::parse(&bytes).map_err(|error| refused(format!("it has {error}")))?;
    take(&blocks).map_err(refused)
}

fn certificates_of(blocks: &[Block]) -> Result<Vec<Vec<u8>>, String> {
    let found = fanfare_pem::certificates(blocks).map_err(|unused| format!("it has {unused}"))?;
    Ok(found.into_iter().map(<[u8]>::to_vec).collect())
}

/// The one private key.
fn key_of(blocks: &[Block]) -> Result<PrivateKeyDer<'static>, String> {
    let mut keys = blocks.iter().filter(|block| fanfare_pem::is_key(block.label()));
    let Some(key) = keys.next() else { return Err("it has no private key in it".to_owned()) };
    if keys.next().is_some() {
        return Err("it has several private keys in it: leave only the certificate's".to_owned());
    }
    if key.is_encrypted() {
        return Err("its private key is encrypted: decrypt it with `openssl pkey`".to_owned());
    }
    let der = key.der().to_vec();
    match key.label() {
        "PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(der.into())),
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(der.into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(der.into())),
        _ => Err("its private key is of a form that is not supported".to_owned()),
    }
}

fn crypto(
    roots: RootCertStore,
    protocol: &[u8],
    proof: Option<Credentials>,
) -> Result<QuicClientConfig, String> {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut tls = match proof {
        None => tls.with_no_client_auth(),
        Some((chain, key)) => tls.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?,
    };
    tls.alpn_protocols = vec![protocol.to_vec()];
    QuicClientConfig::try_from(tls).map_err(|error| error.to_string())
}

fn over_tcp(roots: RootCertStore) -> Result<rustls::ClientConfig, String> {
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

fn roots_in(path: &Path) -> Result<RootCertStore, RootsError> {
    let mut store = RootCertStore::empty();
    for (number, der) in (1..).zip(pem_file(path, certificates_of)?) {
        store.add(der.into()).map_err(|error| RootsError::Unusable {
            path: path.to_owned(),
            number,
            detail: error.to_string(),
        })?;
    }
    if store.is_empty() { Err(RootsError::Empty { path: path.to_owned() }) } else { Ok(store) }
}

fn system() -> Result<RootCertStore, RootsError> {
    let (found, errors) = match own_file() {
        // The usual reader leaves out what is not exactly as it should be.
        Some(file) => {
            let found = pem_file(Path::new(&file), certificates_of)
                .map_err(|error| RootsError::System { detail: error.to_string() })?;
            let mut found: Vec<_> = found.into_iter().map(CertificateDer::from).collect();
            let more = variable("SSL_CERT_DIR")
                .map(|directory| rustls_native_certs::load_certs_from_paths(None, Some(directory.as_ref())));
            let more = more.unwrap_or_default();
            found.extend(more.certs);
            (found, more.errors)
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            (found.certs, found.errors)
        }
    };
    let mut store = RootCertStore::empty();
    // A system's collection has old and odd certificates in it; one that cannot be used harms nobody.
    let (_, ignored) = store.add_parsable_certificates(found);
    if store.is_empty() {
        let detail = match errors.first() {
            Some(error) => error.to_string(),
            None if ignored > 0 => format!("none of {} can be used", certificates(ignored)),
            None => "none were found".to_owned(),
        };
        return Err(RootsError::System { detail });
    }
    for error in &errors {
        tracing::warn!(%error, "some of the system's certificate authorities could not be read");
    }
    Ok(store)
}

/// The file that the environment says is to be used instead of the system's.
fn own_file() -> Option<OsString> {
    variable("SSL_CERT_FILE")
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn system_words() -> String {
    match std::env::var_os("SSL_CERT_FILE") {
        Some(file) => format!("the certificates in {} (from SSL_CERT_FILE)", Path::new(&file).display()),
        None => "the system's authorities".to_owned(),
    }
}

fn certificates(count: usize) -> String {
    match count {
        1 => "1 certificate".to_owned(),
        _ => format!("{count} certificates"),
    }
}

/// What `the` can stand before.
fn those(count: usize) -> String {
    if count == 1 { "certificate".to_owned() } else { certificates(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_pem(content: &str) -> Result<Trust, RootsError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, content).unwrap();
        load(Roots::Pem(path), fanfare_protocol::ALPN, None)
    }

    #[test]
    fn a_good_file_is_named_in_the_words() {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let trust = load_pem(&certificate).unwrap();
        assert!(trust.roots.starts_with("the certificate in /"), "{}", trust.roots);
        assert!(trust.roots.ends_with("ca.pem"));
    }

    #[test]
    fn a_bad_file_is_an_error_that_names_it() {
        let error =
            load(Roots::Pem("/nonexistent/ca.pem".into()), fanfare_protocol::ALPN, None).err().unwrap();
        assert!(matches!(error, RootsError::Read { .. }));
        assert!(
            error.to_string().starts_with("the certificate file /nonexistent/ca.pem cannot be read: "),
            "{error}"
        );

        let error = load_pem("just some text").err().unwrap();
        assert!(matches!(error, RootsError::Empty { .. }), "{error}");
        let error = load_pem("-----BEGIN CERTIFICATE-----\nAAAA\n").err().unwrap();
        assert!(matches!(error, RootsError::Pem { .. }), "{error}");
        let error = load_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").err().unwrap();
        assert!(matches!(error, RootsError::Unusable { number: 1, .. }), "{error}");
    }

    /// One of ours, in PEM.
    fn certificate() -> String {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn files_as_people_have_them_lose_no_certificate_or_are_refused_with_the_line() {
        let (first, second) = (certificate(), certificate());
        for content in [
            format!("{}{second}", first.trim_end()),
            format!("\u{feff}{first}{second}"),
            format!("{first}text: {second}").replace('\n', "\r\n"),
            format!("{first}{second}").replace('\n', "\r"),
        ] {
            let trust = load_pem(&content).unwrap_or_else(|error| panic!("{error}: {content}"));
            assert!(trust.roots.starts_with("the 2 certificates in "), "{}", trust.roots);
        }
        let lines = first.lines().count();
        for (content, line) in [
            (format!("{first}{}", second.to_lowercase()), lines + 1),
            (format!("{first}{}", second.trim_end().trim_end_matches('-')), 2 * lines),
            (format!("{first}{}", &second[..second.len() / 2]), lines + 1),
            (format!("{first}{}", second.replace("CERTIFICATE", "TRUSTED CERTIFICATE")), lines + 1),
        ] {
            let error = load_pem(&content).err().unwrap().to_string();
            assert!(error.contains(&format!("line {line}")), "line {line}: {error}");
        }
    }

    #[test]
    fn a_key_is_the_only_one_in_its_file_and_is_not_encrypted() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        let good = made.signing_key.serialize_pem();
        let tried = |content: &str| {
            std::fs::write(&key, content).unwrap();
            credentials(&cert, &key).map(drop).map_err(|error| error.to_string())
        };
        tried(&good).unwrap();
        tried(&format!("\u{feff}{}", good.replace('\n', "\r\n"))).unwrap();
        for (content, words) in [
            (made.cert.pem(), "no private key"),
            (good.repeat(2), "several private keys"),
            (good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "is encrypted"),
            (good.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"), "not supported"),
            (good.replace("-----END", "----END"), "line"),
        ] {
            let error = tried(&content).unwrap_err();
            assert!(error.contains(words) && error.contains("key.pem"), "{words}: {error}");
        }
    }

    #[test]
    fn an_empty_store_is_an_error() {
        assert!(matches!(
            load(Roots::Store(RootCertStore::empty()), fanfare_protocol::ALPN, None),
            Err(RootsError::EmptyStore)
        ));
    }
}
