//! What requests to other servers share: whom the system trusts, and errors in words.
//!
//! In: authorities, or none. Out: TLS as a client has it; what failed, with what caused it. Invariants: no certificate
//! is taken without an authority for it; a file of authorities is used as a whole or not at all.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use fanfare_token::{KeyError, read_at_most};
use rustls::RootCertStore;

/// The largest file of authorities that is read: a system's has a quarter of a megabyte.
const BUNDLE_BYTES: usize = 8 << 20;

/// The file that the environment says is to be used instead of the system's.
fn own_file() -> Option<PathBuf> {
    variable("SSL_CERT_FILE").map(PathBuf::from)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = match own_file() {
        // The usual reader leaves out what is not exactly as it should be.
        Some(path) => {
            let refused = |problem: String| format!("{} (from SSL_CERT_FILE): {problem}", path.display());
            let bytes = read_at_most(&path, BUNDLE_BYTES).map_err(|error| match error {
                KeyError::Io { source, .. } => refused(format!("it cannot be read: {source}")),
                error => error.to_string(),
            })?;
            let blocks = fanfare_pem::parse(&bytes).map_err(|error| refused(format!("it has {error}")))?;
            let found =
                fanfare_pem::certificates(&blocks).map_err(|unused| refused(format!("it has {unused}")))?;
            let mut all: Vec<_> = found.into_iter().map(|der| der.to_vec().into()).collect();
            if let Some(directory) = variable("SSL_CERT_DIR") {
                all.extend(rustls_native_certs::load_certs_from_paths(None, Some(directory.as_ref())).certs);
            }
            all
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    // A system's collection has old and odd certificates in it; one that cannot be used harms nobody.
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err("the system has no certificate authorities, and none were given for this URL".to_owned());
    }
    Ok(roots)
}

/// TLS towards servers whose certificates `roots` vouch for; without them, the system's authorities. Reads files.
///
/// # Errors
/// When there are none, or a file of them cannot be used.
pub(crate) fn client_tls(roots: Option<Arc<RootCertStore>>) -> Result<rustls::ClientConfig, String> {
    let roots = match roots {
        Some(roots) => roots,
        None => Arc::new(system_roots()?),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

/// Why a server was not reached.
pub(crate) fn unreachable_words(error: &(dyn Error + 'static)) -> String {
    let words = told(error);
    // Another authority, or another one of the same name.
    let hint = match words.contains("UnknownIssuer") || words.contains("BadSignature") {
        true => "; the authority that issued its certificate is not trusted here",
        false => "",
    };
    format!("{words}{hint}")
}

/// An error with what caused it.
pub(crate) fn told(error: &(dyn Error + 'static)) -> String {
    let (mut words, mut cause) = (vec![error.to_string()], error.source());
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.dedup();
    words.join(": ")
}
