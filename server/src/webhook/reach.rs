//! Which addresses webhooks go to: public ones, and those that the operator has allowed.
//!
//! In: a host's name, or an address. Out: the addresses that may be connected to. Invariant: what is connected to was
//! judged after the name was resolved, so that a name that leads into the operator's own network, or does so a moment
//! later, is not followed (server-side request forgery; RFC 6890's registries say which addresses are public).

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;

use crate::network::Network;

/// How many names are looked up at a time: each takes a thread, for as long as the system's resolver takes, whether or
/// not somebody still waits for it.
const LOOKUPS: usize = 4;

/// Which addresses may be connected to.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// Networks that are not public, and are meant.
    allowed: Arc<[Network]>,
    lookups: Arc<Semaphore>,
}

impl Reach {
    /// Public addresses, and these.
    pub(crate) fn new(allowed: Vec<Network>) -> Self {
        Self { allowed: allowed.into(), lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// Whether an address may be connected to.
    pub(crate) fn covers(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.iter().any(|network| network.contains(address))
    }
}

/// A resolver that gives no address that may not be connected to.
impl tower_service::Service<Name> for Reach {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.clone();
        Box::pin(async move {
            let place = Arc::clone(&reach.lookups).acquire_owned().await.map_err(io::Error::other)?;
            let look = move || {
                let _place = place;
                (name.as_str(), 0).to_socket_addrs()
            };
            let found: Vec<_> = tokio::task::spawn_blocking(look).await.map_err(io::Error::other)??.collect();
            let (taken, refused): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|found| reach.covers(found.ip()));
            match refused.first() {
                Some(refused) if taken.is_empty() => Err(io::Error::other(not_reached(refused.ip()))),
                _ => Ok(taken.into_iter()),
            }
        })
    }
}

/// Why an address is not connected to.
pub(crate) fn not_reached(address: IpAddr) -> String {
    format!("{address} is not a public address; name its network in `allow`, if it is meant")
}

/// Whether an address is somebody's on the public internet.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || (a == 100 && b & 0xc0 == 64)
        || (a == 169 && b == 254)
        || (a == 172 && b & 0xf0 == 16)
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    // NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to an IPv4 address.
    if (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0) {
        return embedded(g, h);
    }
    if a == 0x2002 {
        return embedded(b, c);
    }
    // Of the unicast addresses these are given out; all else is local, reserved, or of protocols (2001::/23 with
    // Teredo), documentation and benchmarks.
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && !(a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_12_what_is_not_public_is_not_reached_however_it_is_written() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(!Reach::new(Vec::new()).covers(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.169.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
            "2001:200::1",
        ] {
            assert!(Reach::new(Vec::new()).covers(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_is_allowed_is_reached_and_nothing_else() {
        let reach = Reach::new(vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
        for (address, is_reached) in [
            ("10.9.9.9", true),
            ("::ffff:10.9.9.9", true),
            ("::1", true),
            ("::2", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(reach.covers(address.parse().unwrap()), is_reached, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_leads_to() {
        use tower_service::Service as _;
        let name = || "localhost".parse().unwrap();
        let error = Reach::new(Vec::new()).call(name()).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("is not a public address"), "{error}");
        let allowed = vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        assert!(Reach::new(allowed).call(name()).await.unwrap().count() > 0);
    }
}
