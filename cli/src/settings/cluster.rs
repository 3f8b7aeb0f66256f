//! The settings of a node: where its cluster meets, and who it is there.
//!
//! In: what was said of each. Out: what the server takes. Invariant: a name or a file that is of use with
//! `--cluster` alone is refused without it, so that nobody believes to have a cluster who has none.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_server::ClusterSettings;
use fanfare_server::nats;

use super::schema::Settings;
use super::value::WithoutClusterSetting;
use crate::failure::Failure;

/// What the names in NATS begin with, where nothing else is said.
pub(super) const PREFIX: &str = "fanfare";
/// How many NATS servers keep what is decided, where nothing else is said.
pub(super) const REPLICAS: u32 = 3;
/// How long a lease lasts, where nothing else is said.
pub(super) const LEASE: Duration = Duration::from_secs(5);

impl Settings {
    /// The cluster that the server is to be a node of, if it is.
    pub(super) fn cluster(&self) -> Result<Option<ClusterSettings>, Failure> {
        if self.cluster.is_empty() {
            let file = |flag, file: &Option<PathBuf>| file.is_some().then_some(flag);
            let alone = file("--cluster-nkey", &self.cluster_nkey)
                .or(file("--cluster-creds", &self.cluster_creds))
                .or(file("--cluster-ca", &self.cluster_ca))
                .or(self.cluster_name.is_some().then_some("--cluster-name"))
                // These have defaults, which need no cluster.
                .or(self
                    .cluster_prefix
                    .as_ref()
                    .is_some_and(|prefix| prefix != PREFIX)
                    .then_some("--cluster-prefix"))
                .or(self
                    .cluster_replicas
                    .is_some_and(|replicas| replicas != REPLICAS)
                    .then_some("--cluster-replicas"))
                .or(self.cluster_lease.is_some_and(|lease| lease.0 != LEASE).then_some("--cluster-lease"))
                .or((self.without_cluster == Some(WithoutClusterSetting::Serve))
                    .then_some("--without-cluster"));
            return match alone {
                None => Ok(None),
                Some(flag) => Err(Failure::usage(format!(
                    "{flag} needs --cluster URL, the NATS servers where nodes meet"
                ))),
            };
        }
        let prefix = self.cluster_prefix.clone().unwrap_or_else(|| PREFIX.to_owned());
        let mut nats = nats::Settings::new(self.cluster.clone(), prefix);
        nats.credentials = match (&self.cluster_nkey, &self.cluster_creds) {
            (None, None) => nats::Credentials::None,
            (Some(file), None) => nats::Credentials::NKey(file.clone()),
            (None, Some(file)) => nats::Credentials::File(file.clone()),
            (Some(_), Some(_)) => {
                return Err(Failure::usage("--cluster-nkey and --cluster-creds exclude each other"));
            }
        };
        nats.authority.clone_from(&self.cluster_ca);
        if let Some(replicas) = self.cluster_replicas {
            nats.replicas = replicas as usize;
        }
        let mut cluster = ClusterSettings::new(nats);
        cluster.name.clone_from(&self.cluster_name);
        if let Some(lease) = self.cluster_lease {
            cluster.lease = lease.0;
        }
        cluster.serves_without = self.without_cluster == Some(WithoutClusterSetting::Serve);
        Ok(Some(cluster))
    }
}
