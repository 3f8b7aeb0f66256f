//! Users who are known by a certificate instead of a token: what the server has to be told from outside, because
//! certificates are not its business.

use std::fmt;
use std::sync::Arc;

use fanfare_protocol::{Code, Denial, UserName};
use fanfare_token::{GrantClaim, Grants, Permissions, Proof, Seconds};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;

/// Who a certificate says that a client is, and what that user is granted.
pub struct CertifiedUser {
    /// The user.
    pub user: UserName,
    /// What it may do.
    pub grants: Vec<GrantClaim>,
    /// When the certificate begins, in seconds since 1970: a sign-out later than that refuses it.
    pub issued: Seconds,
    /// When it ends, in seconds since 1970: the connection ends then.
    pub ends: Seconds,
    /// By what it can be refused alone, as a token by its `jti`.
    pub serial: String,
}

/// Decides which certificates name users. Its methods hold nobody up.
pub trait ClientCertificates: fmt::Debug + Send + Sync {
    /// What TLS checks certificates with. It must let clients in that show none: they may have a token.
    ///
    /// # Errors
    /// Why there is none.
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error>;

    /// Whom a certificate names that TLS has let pass.
    ///
    /// # Errors
    /// Why it names nobody, for the client.
    fn identify(&self, chain: &[CertificateDer<'static>]) -> Result<CertifiedUser, String>;
}

/// Who a client is that says that its certificate tells.
pub(crate) fn certified(
    certificates: Option<&dyn ClientCertificates>,
    chain: &[CertificateDer<'static>],
    leeway: Seconds,
) -> Result<(UserName, Permissions), Denial> {
    let refused = |detail: String| Denial { code: Code::CertificateRefused, detail };
    let Some(certificates) = certificates else {
        return Err(refused("this server takes no client certificates".to_owned()));
    };
    if chain.is_empty() {
        return Err(refused("no certificate was shown".to_owned()));
    }
    let CertifiedUser { user, grants, issued, ends, serial } =
        certificates.identify(chain).map_err(refused)?;
    let grants = Grants::parse(grants, 0).map_err(|_| refused("its grants cannot be read".to_owned()))?;
    let issued = Some(issued.saturating_sub(leeway));
    Ok((user, Permissions { grants, ends, issued, token: Some(serial), proof: Proof::Certificate }))
}
