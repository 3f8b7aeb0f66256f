//! Who is an operator of a served hub: whoever has a certificate of the state directory's authority that was not
//! revoked.

use std::path::Path;
use std::sync::Arc;

use fanfare_certs::OperatorCheck;
use fanfare_server::{Operator, Operators};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;

#[derive(Debug)]
pub(crate) struct StateOperators(OperatorCheck);

impl StateOperators {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(OperatorCheck::new(state_dir))
    }
}

impl Operators for StateOperators {
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        self.0.verifier().map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn identify(&self, chain: &[CertificateDer<'static>]) -> Result<Operator, String> {
        let (name, role) = self.0.identify(chain).map_err(|error| error.to_string())?;
        Ok(Operator { name, role })
    }
}
