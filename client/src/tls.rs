//! TLS: whom to trust, and what QUIC is told about it.
//!
//! In: [`Roots`]. Out: the client half of a TLS 1.3 configuration, and a few words on who is trusted, for error messages.
//!
//! Invariants: the crypto provider is given, never taken from the process, whose owner may have chosen another; a file
//! that cannot be used in full is an error that names it, so that nobody trusts less than they think.

use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Roots;
use crate::error::RootsError;

/// A TLS configuration.
#[derive(Clone)]
pub(crate) struct Trust {
    pub(crate) crypto: Arc<QuicClientConfig>,
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
            let store = pem_file(&path)?;
            let words = format!("the {} in {}", certificates(store.len()), path.display());
            (store, words)
        }
        Roots::Store(store) if store.is_empty() => return Err(RootsError::EmptyStore),
        Roots::Store(store) => {
            let words = format!("the {} that the application gave", certificates(store.len()));
            (store, words)
        }
    };
    let proof = proof.map(|(certificate, key)| credentials(certificate, key)).transpose()?;
    let crypto = crypto(store, protocol, proof).map_err(|detail| RootsError::Tls { detail })?;
    Ok(Trust { crypto: Arc::new(crypto), roots })
}

/// aws-lc-rs, with AES-128 before AES-256, as browsers have it: both are beyond reach, and the shorter key is a fifth less work for
/// every packet and every hash of the handshake.
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
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |error| match error {
            pem::Error::Io(source) => RootsError::Read { path, source: Arc::new(source) },
            other => RootsError::Pem { path, detail: other.to_string() },
        }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(refused(certificate))?;
    if chain.is_empty() {
        return Err(RootsError::Empty { path: certificate.to_owned() });
    }
    Ok((chain, PrivateKeyDer::from_pem_file(key).map_err(refused(key))?))
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

fn pem_file(path: &Path) -> Result<RootCertStore, RootsError> {
    let refused = |error| match error {
        pem::Error::Io(source) => RootsError::Read { path: path.to_owned(), source: Arc::new(source) },
        other => RootsError::Pem { path: path.to_owned(), detail: other.to_string() },
    };
    let mut store = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_file_iter(path).map_err(refused)?.enumerate() {
        store.add(certificate.map_err(refused)?).map_err(|error| RootsError::Unusable {
            path: path.to_owned(),
            number: index + 1,
            detail: error.to_string(),
        })?;
    }
    if store.is_empty() { Err(RootsError::Empty { path: path.to_owned() }) } else { Ok(store) }
}

fn system() -> Result<RootCertStore, RootsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // A system's collection has old and odd certificates in it; one that cannot be used harms nobody.
    let (_, ignored) = store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let detail = match found.errors.first() {
            Some(error) => error.to_string(),
            None if ignored > 0 => format!("none of {} can be used", certificates(ignored)),
            None => "none were found".to_owned(),
        };
        return Err(RootsError::System { detail });
    }
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's certificate authorities could not be read");
    }
    Ok(store)
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
        assert!(trust.roots.starts_with("the 1 certificate in /"), "{}", trust.roots);
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

    #[test]
    fn an_empty_store_is_an_error() {
        assert!(matches!(
            load(Roots::Store(RootCertStore::empty()), fanfare_protocol::ALPN, None),
            Err(RootsError::EmptyStore)
        ));
    }
}
