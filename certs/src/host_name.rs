//! The names a server's leaf is valid for: DNS names and IP addresses.
//!
//! In come names as a person typed them, or a certificate. Out come names that compare equal when they mean
//! the same host. Invariant: every name made here can stand in a certificate (RFC 5280, section 4.2.1.6) and
//! be matched by TLS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustls::pki_types::DnsName;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::Error;
use crate::description::ip_address;

/// One name of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostName {
    /// A DNS name in lower case, perhaps with `*.` before it.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

impl HostName {
    /// Reads a name as a person gives it: `chat.example`, `*.chat.example`, `192.0.2.1`, `2001:db8::1`.
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        if let Ok(ip) = name.parse() {
            return Ok(Self::Ip(ip));
        }
        let host = name.strip_prefix("*.").unwrap_or(name);
        if !host.ends_with('.') && DnsName::try_from(host).is_ok() {
            return Ok(Self::Dns(name.to_ascii_lowercase()));
        }
        Err(Error::BadName { name: name.to_owned(), reason: problem(name) })
    }

    /// What a leaf must hold: the local names, then `given`, each once.
    ///
    /// # Errors
    /// [`Error::BadName`] for the first that is neither a DNS name nor an IP address.
    pub(crate) fn wanted(given: &[String]) -> Result<Vec<Self>, Error> {
        let mut names = vec![
            Self::Dns("localhost".to_owned()),
            Self::Ip(Ipv4Addr::LOCALHOST.into()),
            Self::Ip(Ipv6Addr::LOCALHOST.into()),
        ];
        for name in given {
            let name = Self::parse(name)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The names in a certificate; kinds other than these two are passed over.
    pub(crate) fn in_certificate(certificate: &X509Certificate<'_>) -> Vec<Self> {
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return Vec::new();
        };
        let names = extension.value.general_names.iter();
        names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(Self::Dns(name.to_ascii_lowercase())),
                GeneralName::IPAddress(bytes) => ip_address(bytes).map(Self::Ip),
                _ => None,
            })
            .collect()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// What is wrong with a name that is neither a DNS name nor an IP address.
fn problem(name: &str) -> &'static str {
    let port =
        name.rsplit_once(':').is_some_and(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok());
    if name.is_empty() {
        "it is empty"
    } else if name.contains("://") || name.contains('/') {
        "give the host alone, without a scheme or a path"
    } else if port || name.parse::<SocketAddr>().is_ok() {
        "give the host alone, without a port"
    } else if name.starts_with('[') {
        "give an IPv6 address without brackets"
    } else if !name.is_ascii() {
        "give an internationalised name in its ASCII form (`xn--...`)"
    } else if name.ends_with('.') {
        "leave out the dot at the end"
    } else {
        "it is neither a DNS name (letters, digits, hyphens and dots, at most 253 bytes) nor an IP address"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_dns_names_and_addresses() {
        for (given, shown) in [
            ("Chat.Example", "chat.example"),
            ("*.chat.example", "*.chat.example"),
            ("my-host_1", "my-host_1"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
        ] {
            assert_eq!(HostName::parse(given).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_name() {
        for (given, part) in [
            ("", "empty"),
            ("https://chat.example", "scheme"),
            ("chat.example/x", "path"),
            ("chat.example:4433", "port"),
            ("[::1]:4433", "port"),
            ("[::1]", "brackets"),
            ("münchen.example", "xn--"),
            ("chat.example.", "dot at the end"),
            ("chat example", "neither"),
            ("-chat", "neither"),
            ("a..b", "neither"),
            ("300.1.2.3", "neither"),
            ("*", "neither"),
            ("a.*.example", "neither"),
            ("chat\0.example", "neither"),
        ] {
            let text = HostName::parse(given).unwrap_err().to_string();
            assert!(text.contains(part) && text.starts_with(&format!("{given:?}")), "{given:?}: {text}");
        }
        assert!(HostName::parse(&"a".repeat(64)).is_err());
        assert!(HostName::parse(&["a"; 128].join(".")).is_err(), "254 bytes or more");
    }

    #[test]
    fn wants_the_local_names_and_each_name_once() {
        let given = ["LOCALHOST", "chat.example", "127.0.0.1", "CHAT.example"].map(str::to_owned);
        let names: Vec<_> = HostName::wanted(&given).unwrap().iter().map(HostName::to_string).collect();
        assert_eq!(names, ["localhost", "127.0.0.1", "::1", "chat.example"]);
    }
}
