//! A network of addresses, as an operator writes it.
//!
//! In: a network in CIDR's notation, or one address. Out: whether an address is in it. Invariants: an IPv4 address is
//! the same one where it is written as an IPv6 one; no network is all addresses, because what is said of a network is
//! never meant for everybody.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// How many bits of an IPv6 address come before the IPv4 address that is written in it (RFC 4291, section 2.5.5.2).
const MAPPED: u8 = 96;

/// Addresses that belong together: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether this address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// It is something else.
    #[error("{0:?} is no network; write one like 10.0.0.0/8 or 2001:db8::/32, or an address")]
    Unreadable(String),
    /// Somebody may have meant less than what the prefix says.
    #[error("{written} has bits behind its prefix; write {network}, or the address alone")]
    BitsBehindPrefix {
        /// What was written.
        written: String,
        /// The whole network.
        network: Network,
    },
    /// It is everybody.
    #[error("{0} is every address; write the networks that are meant")]
    Everybody(String),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let network: IpNet = text.parse().map_err(|_| NetworkError::Unreadable(text.to_owned()))?;
        let whole = Self(canonical(network.trunc()));
        if whole.0.prefix_len() == 0 {
            return Err(NetworkError::Everybody(text.to_owned()));
        }
        if network != network.trunc() {
            return Err(NetworkError::BitsBehindPrefix { written: text.to_owned(), network: whole });
        }
        Ok(whole)
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

/// The IPv4 network where it is written as an IPv6 one.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = || Ipv4Net::new(v6.addr().to_ipv4_mapped()?, v6.prefix_len().checked_sub(MAPPED)?).ok();
    v4().map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_networks_however_either_is_written() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.1.2.3", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.0.0.0"),
            ("10.0.0.0/8", "10.255.255.255", "::10.1.2.3"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::ffff:127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("192.0.2.4/31", "192.0.2.5", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            let read: Network = network.parse().unwrap();
            assert!(read.contains(inside.parse().unwrap()), "{inside} is in {network}");
            assert!(!read.contains(outside.parse().unwrap()), "{outside} is not in {network}");
            assert_eq!(read.to_string().parse(), Ok(read), "{network}");
        }
    }

    #[test]
    fn what_is_no_network_or_too_much_of_one_is_refused_with_what_to_write() {
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "/8", "10.0.0.0/8 ", "proxy.example", "::/129"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Unreadable(text.to_owned())));
        }
        for text in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96", "10.0.0.1/0"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Everybody(text.to_owned())));
        }
        let error = "10.0.0.1/8".parse::<Network>().unwrap_err().to_string();
        assert_eq!(error, "10.0.0.1/8 has bits behind its prefix; write 10.0.0.0/8, or the address alone");
    }
}
