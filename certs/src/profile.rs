//! What is written into each kind of certificate that Fanfare makes.
//!
//! In come names and the time. Out come rcgen's parameters, not yet signed. Invariants: a server's leaf is
//! valid for less than the 14 days that browsers accept of a pinned certificate (W3C WebTransport), and never
//! longer than its authority.

use fanfare_protocol::admin::Role;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::Error;
use crate::host_name::HostName;

/// How long a server's leaf is valid in total: 13 days, a day less than browsers allow.
pub const LEAF_LIFETIME: Duration = Duration::days(13);

/// A leaf with less than this left is made again: 3 days.
pub const LEAF_RENEWAL: Duration = Duration::days(3);

const AUTHORITY_LIFETIME: Duration = Duration::days(3652);

/// Certificates begin this long before they are made, for clients whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// The same for clients' certificates: as far apart as clocks are taken to be. A sign-out refuses what begins before
/// it, so a new certificate must not begin long before it is made.
const CLIENT_CLOCK_SKEW: Duration = Duration::seconds(30);

/// The development authority: signs leaves and revocation lists, but no further authorities (path length 0).
pub(crate) fn authority(now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("Fanfare development CA");
    params.not_before = whole_second(now) - CLOCK_SKEW;
    params.not_after = params.not_before + AUTHORITY_LIFETIME;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A server's leaf, valid until `authority_ends` at most.
pub(crate) fn server(
    names: &[HostName],
    now: OffsetDateTime,
    authority_ends: OffsetDateTime,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("Fanfare development server");
    params.not_before = whole_second(now) - CLOCK_SKEW;
    params.not_after = (params.not_before + LEAF_LIFETIME).min(authority_ends);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = names.iter().map(alternative_name).collect::<Result<_, _>>()?;
    Ok(params)
}

/// A client's certificate, a user's or an operator's, valid for `lifetime` from now on, and until `authority_ends` at
/// most.
pub(crate) fn client(
    name: &str,
    role: Option<Role>,
    lifetime: Duration,
    now: OffsetDateTime,
    authority_ends: OffsetDateTime,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    if let Some(role) = role {
        params.distinguished_name.push(DnType::OrganizationalUnitName, role.to_string());
    }
    params.not_before = whole_second(now) - CLIENT_CLOCK_SKEW;
    params.not_after = (whole_second(now) + lifetime).min(authority_ends);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut distinguished = rcgen::DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn alternative_name(name: &HostName) -> Result<SanType, Error> {
    match name {
        HostName::Ip(ip) => Ok(SanType::IpAddress(*ip)),
        HostName::Dns(dns) => match dns.as_str().try_into() {
            Ok(dns) => Ok(SanType::DnsName(dns)),
            Err(_) => Err(Error::BadName { name: dns.clone(), reason: "it is not ASCII" }),
        },
    }
}

/// Certificates hold whole seconds.
fn whole_second(time: OffsetDateTime) -> OffsetDateTime {
    time - Duration::nanoseconds(time.nanosecond().into())
}
