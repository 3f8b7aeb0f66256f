//! Where the server is: `host:port` as a person writes it, checked, and looked up.
//!
//! In: text. Out: the name that the server's certificate must carry, and the socket addresses to try.
//! Invariant: a [`ServerAddress`] has a host that is not empty and a port that is not 0.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// How many of a name's addresses are tried. A name with more has them for spreading load, and the first few do.
const MAX_ADDRESSES: usize = 8;

/// A server's host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    /// A DNS name or an IP address, the latter without brackets.
    host: String,
    port: u16,
}

impl ServerAddress {
    /// What the server's certificate must be valid for.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The addresses to try, in this order. Looked up anew on every call: after a move, the old address is of no use.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        Ok(alternate(found.collect()))
    }
}

/// Puts the two IP families in turns, starting with the resolver's first choice, so that a family that does not work
/// here costs one try and not several (RFC 8305 section 4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [preferred.next(), other.next()];
        if pair == [None, None] {
            ordered.truncate(MAX_ADDRESSES);
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

impl FromStr for ServerAddress {
    type Err = &'static str;

    /// Reads `host:port`. The error says what is wrong with the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or("it lacks a port; write it as host:4433")?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err("what stands in brackets is not an IPv6 address"),
            None if host.contains(['/', '@']) => {
                return Err("it is a host and a port, not a URL; write it as host:4433");
            }
            None if host.contains(':') => {
                return Err("an IPv6 address goes in brackets; write it as [::1]:4433");
            }
            None => host,
        };
        if host.is_empty() {
            return Err("it lacks a host; write it as host:4433");
        }
        match port.parse() {
            Ok(0) | Err(_) => Err("the port is not a number from 1 to 65535"),
            Ok(port) => Ok(Self { host: host.to_owned(), port }),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_taken() {
        for (text, host) in
            [("example.org:4433", "example.org"), ("127.0.0.1:1", "127.0.0.1"), ("[::1]:65535", "::1")]
        {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.host(), host);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_reason() {
        for (text, reason) in [
            ("example.org", "lacks a port"),
            (":4433", "lacks a host"),
            ("::1:4433", "in brackets"),
            ("[example.org]:4433", "not an IPv6 address"),
            ("https://example.org:4433", "not a URL"),
            ("alice@example.org:4433", "not a URL"),
            ("example.org:0", "1 to 65535"),
            ("example.org:70000", "1 to 65535"),
            ("example.org:", "1 to 65535"),
        ] {
            let problem = text.parse::<ServerAddress>().unwrap_err();
            assert!(problem.contains(reason), "{text}: {problem}");
        }
    }

    #[test]
    fn families_take_turns() {
        let of = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = of(&["[::1]:1", "[::2]:1", "127.0.0.1:1", "[::3]:1"]);
        assert_eq!(alternate(found), of(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(alternate(Vec::new()), Vec::new());
    }
}
