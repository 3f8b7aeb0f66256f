//! Who an operator is, by the certificate that was shown: asked at every request, so that what is revoked ends at once.
//!
//! In comes a chain that TLS has checked. Out come a name and a role, or why not. Invariant: what cannot be decided is
//! refused: a revocation list that cannot be read lets nobody in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use fanfare_protocol::admin::Role;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use time::OffsetDateTime;

use crate::Error;
use crate::certificate::{check_dates, is_signed_by, parse};
use crate::file_names::{CA_CERTIFICATE, OPERATORS_REVOKED};
use crate::operator::name_and_role;
use crate::pem_file::PemFile;
use crate::revocation_list::Revocations;
use crate::roots::load_roots;

/// Decides by the authority and the revocation list in a state directory.
pub struct OperatorCheck {
    directory: PathBuf,
    /// The list as it was read last, with what tells whether the file is another one now.
    revocations: Mutex<Option<(Stamp, Revocations)>>,
}

impl std::fmt::Debug for OperatorCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorCheck").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// The two files' times, lengths and places on the disk. Both are replaced by renaming, which changes the last.
type Stamp = [Option<(SystemTime, u64, u64)>; 2];

impl OperatorCheck {
    /// For the authority in this directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), revocations: Mutex::new(None) }
    }

    /// What TLS checks operators' certificates with: one of the authority in the directory is demanded.
    ///
    /// # Errors
    /// Those of [`load_roots`]; [`Error::NotAnOperator`] if TLS does not take the authority.
    pub fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        verifier(load_roots(&self.directory.join(CA_CERTIFICATE))?)
    }

    /// Whose certificate is the first of this chain, if it is an operator's now.
    ///
    /// # Errors
    /// [`Error::NotAnOperator`], [`Error::Revoked`], [`Error::Expired`] and the like; [`Error::DamagedRevocations`] if
    /// the list cannot be used.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<(String, Role), Error> {
        let shown = Path::new("the operator's certificate");
        let refused = |reason: &str| Error::NotAnOperator { reason: reason.to_owned() };
        let certificate = parse(shown, 1, chain.first().ok_or_else(|| refused("none was shown"))?)?;
        check_dates(shown, 1, &certificate, OffsetDateTime::now_utc())?;
        // TLS has checked it, but perhaps against an authority that has been replaced since.
        let path = self.directory.join(CA_CERTIFICATE);
        let authorities = PemFile::read(&path)?.certificates()?;
        let authority =
            parse(&path, 1, authorities.first().ok_or_else(|| refused("there is no authority"))?)?;
        if !is_signed_by(&certificate, &authority) {
            return Err(refused("another authority signed it"));
        }
        let (name, role) = name_and_role(&certificate).map_err(refused)?;
        if self.is_revoked(certificate.raw_serial())? {
            return Err(Error::Revoked { name });
        }
        Ok((name, role))
    }

    fn is_revoked(&self, serial: &[u8]) -> Result<bool, Error> {
        // Taken before the file is read: one that is replaced meanwhile is read again the next time.
        let stamp = self.stamp();
        // A panic in here would have left a whole list or none.
        let mut known = self.revocations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((read, revocations)) = &*known
            && *read == stamp
        {
            return Ok(revocations.holds(serial));
        }
        let revocations = Revocations::read(&self.directory)?;
        let revoked = revocations.holds(serial);
        *known = Some((stamp, revocations));
        Ok(revoked)
    }

    fn stamp(&self) -> Stamp {
        [CA_CERTIFICATE, OPERATORS_REVOKED].map(|name| {
            let facts = std::fs::metadata(self.directory.join(name)).ok()?;
            #[cfg(unix)]
            let place = std::os::unix::fs::MetadataExt::ino(&facts);
            #[cfg(not(unix))]
            let place = 0;
            Some((facts.modified().ok()?, facts.len(), place))
        })
    }
}

/// Demands a certificate by one of these.
pub(crate) fn verifier(roots: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| Error::NotAnOperator { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use crate::operator::{OPERATOR_LIFETIME, create_operator, revoke_operator};
    use crate::server_leaf::server_leaf;

    fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
        PemFile::read(path).unwrap().certificates().unwrap()
    }

    #[test]
    fn a_certificate_is_an_operators_until_it_is_revoked() {
        let home = tempfile::tempdir().unwrap();
        let check = OperatorCheck::new(home.path());
        let made = create_operator(home.path(), "oncall", Role::Operator, OPERATOR_LIFETIME).unwrap();
        let other = create_operator(home.path(), "guest", Role::Viewer, OPERATOR_LIFETIME).unwrap();
        let (oncall, guest) = (chain(&made.certificate), chain(&other.certificate));
        assert_eq!(check.identify(&oncall).unwrap(), ("oncall".to_owned(), Role::Operator));
        assert_eq!(check.identify(&guest).unwrap(), ("guest".to_owned(), Role::Viewer));
        revoke_operator(home.path(), "oncall").unwrap();
        let error = check.identify(&oncall).unwrap_err();
        assert!(matches!(error, Error::Revoked { .. }), "{error}");
        check.identify(&guest).unwrap();
        // A list that cannot be trusted lets nobody in.
        let list = home.path().join(OPERATORS_REVOKED);
        let good = std::fs::read_to_string(&list).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        create_operator(elsewhere.path(), "x", Role::Viewer, OPERATOR_LIFETIME).unwrap();
        revoke_operator(elsewhere.path(), "x").unwrap();
        let foreign = std::fs::read_to_string(elsewhere.path().join(OPERATORS_REVOKED)).unwrap();
        for bad in ["", "garbage", &good[..good.len() / 2], &foreign] {
            std::fs::write(&list, bad).unwrap();
            assert!(check.identify(&guest).is_err(), "{bad:?}");
        }
        std::fs::write(&list, good).unwrap();
        check.identify(&guest).unwrap();
        assert!(check.identify(&oncall).is_err());
        revoke_operator(home.path(), "guest").unwrap();
        assert!(check.identify(&oncall).is_err() && check.identify(&guest).is_err(), "both are on it now");
    }

    #[test]
    fn a_servers_certificate_is_no_operators_and_neither_is_another_authoritys() {
        let home = tempfile::tempdir().unwrap();
        let check = OperatorCheck::new(home.path());
        let leaf = server_leaf(home.path(), &[]).unwrap();
        let error = check.identify(&leaf.identity.chain).unwrap_err();
        assert!(matches!(error, Error::NotAnOperator { .. }), "{error}");
        assert!(check.identify(&[]).is_err());
        let made = create_operator(home.path(), "oncall", Role::Operator, OPERATOR_LIFETIME).unwrap();
        let oncall = chain(&made.certificate);
        check.identify(&oncall).unwrap();
        Authority::replace(home.path(), &[]).unwrap();
        let error = check.identify(&oncall).unwrap_err();
        assert!(error.to_string().contains("another authority"), "{error}");
    }
}
