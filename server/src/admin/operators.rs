//! Who is an operator: what the endpoint has to be told from outside, because certificates are not the server's
//! business.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;

use crate::moderation::Operator;

/// Decides which certificates are an operator's. Its methods may read files, and are called where that holds nobody up.
pub trait Operators: fmt::Debug + Send + Sync {
    /// What TLS checks client certificates with. It must demand one (test
    /// `no_admin_byte_without_a_certificate_of_our_authority`).
    ///
    /// # Errors
    /// Why there is none.
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error>;

    /// Whose certificate this is, if it is accepted at this moment. Asked at every request and every second of a
    /// session, so that a certificate which is revoked ends its sessions.
    ///
    /// # Errors
    /// Why it is not accepted, for the log.
    fn identify(&self, chain: &[CertificateDer<'static>]) -> Result<Operator, String>;
}
