//! Whose a connection is that comes through a proxy.
//!
//! In: the networks of trusted proxies, a peer's address, what was said before the connection's first byte
//! (`preface.rs`), and a request's headers. Out: the client's address. Invariant: an address is the socket's, or one
//! that a trusted proxy named: nobody else's word is read. Proxies add what they know at the right end of a list, so
//! lists are read from there, one hop after the other, and no further than to the first that is not trusted. What a
//! client has written stands to the left of that, in whatever shape.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::http::header::{FORWARDED, HeaderMap, HeaderName};

use super::preface::Announced;
use crate::network::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whom to believe. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Arc<[Network]>);

/// What is known of where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    address: SocketAddr,
    /// Whether requests on it are a trusted proxy's, whose headers may say more.
    is_proxy: bool,
}

/// Two headers of one request that say different things. Which of them the proxy has written cannot be known: most
/// proxies write one, and let the other through as the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Forwarded and X-Forwarded-For name different clients; a proxy must remove the one that it does not set"
)]
pub(crate) struct Contradiction;

impl Source {
    /// Who it is, unless that is still to be said.
    pub(crate) fn settled(&self) -> Option<SocketAddr> {
        (!self.is_proxy).then_some(self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Proxies {
    pub(crate) fn new(networks: &[Network]) -> Self {
        Self(networks.into())
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// A connection from this peer.
    pub(crate) fn source(&self, peer: SocketAddr) -> Source {
        Source { address: peer, is_proxy: self.trust(peer.ip()) }
    }

    /// The same when a trusted proxy has said this of it.
    pub(crate) fn announced(&self, proxy: Source, announced: Announced) -> Source {
        match announced {
            Announced::Client(client) if proxy.is_proxy => self.source(client),
            // It hands on what somebody sends whom it does not name: the headers in there are anybody's.
            Announced::Unknown => Source { is_proxy: false, ..proxy },
            Announced::Client(_) | Announced::Nothing | Announced::Own => proxy,
        }
    }

    /// Whose a request is.
    ///
    /// # Errors
    /// Its headers contradict each other.
    pub(crate) fn client(&self, source: Source, headers: &HeaderMap) -> Result<SocketAddr, Contradiction> {
        let Source { address, is_proxy: true } = source else { return Ok(source.address) };
        let forwarded = lines(headers, &FORWARDED).map(|lines| self.walk(address, lines, forwarded_hop));
        let listed = lines(headers, &X_FORWARDED_FOR).map(|lines| self.walk(address, lines, listed_hop));
        match (forwarded, listed) {
            (Some(one), Some(other)) if one.ip() != other.ip() => Err(Contradiction),
            (Some(client), _) | (None, Some(client)) => Ok(client),
            (None, None) => Ok(address),
        }
    }

    /// From hop to hop, as long as they are trusted. One that cannot be read ends it: what is left of it may be
    /// anybody's, so the address stays that of the proxy that wrote it.
    fn walk<'a>(
        &self,
        proxy: SocketAddr,
        lines: impl Iterator<Item = &'a [u8]>,
        read: impl Fn(&[u8]) -> Option<SocketAddr>,
    ) -> SocketAddr {
        let mut address = proxy;
        for hop in lines.flat_map(|line| Parts { left: Some(line), separator: b',' }) {
            // A list may have empty elements, which say nothing (RFC 9110, section 5.6.1.2).
            if hop.trim_ascii().is_empty() {
                continue;
            }
            let Some(hop) = read(hop) else { break };
            address = hop;
            if !self.trust(hop.ip()) {
                break;
            }
        }
        address
    }
}

/// The lines of a header, the last first; nothing where there is none.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<impl Iterator<Item = &'a [u8]>> {
    let lines = || headers.get_all(name).iter();
    lines().next().map(|_| lines().rev().map(|line| line.as_bytes()))
}

/// What stands between separators outside quoted strings, the last first. From the right, so that a quote that a
/// client left open does not swallow what a proxy has added.
struct Parts<'a> {
    left: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let whole = self.left.take()?;
        let mut is_quoted = false;
        for (at, byte) in whole.iter().enumerate().rev() {
            let (before, _) = whole.split_at_checked(at)?;
            if *byte == b'"' {
                let escapes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
                is_quoted = !is_quoted || escapes % 2 == 1;
            } else if *byte == self.separator && !is_quoted {
                self.left = Some(before);
                return whole.get(at + 1..);
            }
        }
        Some(whole)
    }
}

/// An element of `Forwarded` (RFC 7239, section 4): the address that its one `for` has.
fn forwarded_hop(element: &[u8]) -> Option<SocketAddr> {
    let mut hop = None;
    for pair in (Parts { left: Some(element), separator: b';' }) {
        // It may be empty, as in `for=192.0.2.1;`.
        if pair.trim_ascii().is_empty() {
            continue;
        }
        let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") {
            let node = match value.trim().strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"')?,
                None => value.trim(),
            };
            if hop.replace(node_address(node)?).is_some() {
                return None;
            }
        }
    }
    hop
}

/// An element of `X-Forwarded-For`: the same, and an IPv6 address may have no brackets.
fn listed_hop(element: &[u8]) -> Option<SocketAddr> {
    let node = str::from_utf8(element).ok()?.trim();
    let bare = || Some(address(node.parse::<Ipv6Addr>().ok()?, 0));
    node_address(node).or_else(bare)
}

/// An address with a port or without (RFC 7239, section 6). `unknown` and what begins with `_` is none.
fn node_address(node: &str) -> Option<SocketAddr> {
    if let Some(bracketed) = node.strip_prefix('[') {
        let (ip, behind) = bracketed.split_once(']')?;
        let port = if behind.is_empty() { 0 } else { port(behind.strip_prefix(':')?)? };
        return Some(address(ip.parse::<Ipv6Addr>().ok()?, port));
    }
    match node.split_once(':') {
        Some((ip, behind)) => Some(address(ip.parse::<Ipv4Addr>().ok()?, port(behind)?)),
        None => Some(address(node.parse::<Ipv4Addr>().ok()?, 0)),
    }
}

/// A port, or 0 for one that is not told.
fn port(text: &str) -> Option<u16> {
    if text.starts_with('_') {
        return Some(0);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn address(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into().to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1:5000";

    fn proxies() -> Proxies {
        Proxies::new(&["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()])
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append::<HeaderName>(name, value);
        }
        headers
    }

    fn from(peer: &str, lines: &[(&str, &str)]) -> Result<String, Contradiction> {
        let proxies = proxies();
        let client = proxies.client(proxies.source(peer.parse().unwrap()), &headers(lines))?;
        Ok(client.to_string())
    }

    fn client(lines: &[(&str, &str)]) -> String {
        from(PROXY, lines).unwrap()
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        for (line, right) in [
            ("192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.1:5555", "192.0.2.1:5555"),
            ("203.0.113.9, 192.0.2.1", "192.0.2.1:0"),
            ("203.0.113.9, 192.0.2.1, 10.0.0.2, 10.9.9.9", "192.0.2.1:0"),
            ("192.0.2.1,10.0.0.2 , ,", "192.0.2.1:0"),
            ("2001:db9::1", "[2001:db9::1]:0"),
            ("[2001:db9::1]", "[2001:db9::1]:0"),
            ("192.0.2.1, [2001:db8::1]:80", "192.0.2.1:0"),
            ("::ffff:192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.1, ::ffff:10.0.0.2", "192.0.2.1:0"),
            // All of them are trusted: it is the first.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3:0"),
        ] {
            assert_eq!(client(&[("x-forwarded-for", line)]), right, "{line}");
        }
        for (line, right) in [
            ("for=192.0.2.1", "192.0.2.1:0"),
            ("For=\"192.0.2.1:5555\"", "192.0.2.1:5555"),
            ("for=192.0.2.1:5555", "192.0.2.1:5555"),
            ("for=\"[2001:db9::1]:5555\"", "[2001:db9::1]:5555"),
            ("for=\"[2001:db9::1]\";proto=https;by=10.0.0.1", "[2001:db9::1]:0"),
            ("for=\"192.0.2.1:_hidden\"", "192.0.2.1:0"),
            ("host=\"a, for=1.1.1.1\"; for=192.0.2.1", "192.0.2.1:0"),
            ("host=\"a\\\", for=1.1.1.1\";for=192.0.2.1", "192.0.2.1:0"),
            ("for=192.0.2.1;host=\"a\\\\\"", "192.0.2.1:0"),
            ("for=192.0.2.1;host=\"a, for=1.1.1.1;b=\\\"\"", "192.0.2.1:0"),
            (";for=192.0.2.1;", "192.0.2.1:0"),
            ("for=203.0.113.9, for=192.0.2.1, for=10.0.0.2;proto=http", "192.0.2.1:0"),
        ] {
            assert_eq!(client(&[("forwarded", line)]), right, "{line}");
        }
        assert_eq!(client(&[]), PROXY);
    }

    #[test]
    fn several_lines_are_one_list_in_their_order() {
        let lines = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "192.0.2.1, 10.0.0.3"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        assert_eq!(client(&lines), "192.0.2.1:0");
        let lines = [("forwarded", "for=203.0.113.9"), ("forwarded", "for=192.0.2.1")];
        assert_eq!(client(&lines), "192.0.2.1:0");
    }

    #[test]
    fn behind_a_hop_that_cannot_be_read_nothing_is_guessed() {
        for hop in
            ["unknown", "_hidden", "", "for", "192.0.2.1:x", "192.0.2.256", "fe80::1%eth0", "\"192.0.2.1\""]
        {
            let line = format!("192.0.2.1, {hop}x, 10.0.0.2:99");
            assert_eq!(client(&[("x-forwarded-for", &line)]), "10.0.0.2:99", "{line}");
        }
        for hop in [
            "for=unknown",
            "for=_hidden",
            "for=\"_hidden\"",
            "for=\"unknown:5555\"",
            "for=2001:db9::1",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=192.0.2.1:+80",
            "for=192.0.2.1:65536",
            "for=192.0.2.1;for=192.0.2.2",
            "proto=https",
            "for",
            ";",
            "192.0.2.1",
        ] {
            let line = format!("for=192.0.2.9, {hop}, for=10.0.0.2");
            assert_eq!(client(&[("forwarded", &line)]), "10.0.0.2:0", "{line}");
            assert_eq!(client(&[("forwarded", hop)]), PROXY, "{hop}");
        }
    }

    #[test]
    fn who_is_not_trusted_is_not_listened_to() {
        let lines = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.8")];
        for peer in ["192.0.2.1:5000", "[::ffff:192.0.2.1]:5000", "[2001:db9::1]:5000"] {
            assert_eq!(from(peer, &lines), Ok(peer.to_owned()));
        }
        let nobody = Proxies::default();
        let peer = PROXY.parse().unwrap();
        assert_eq!(nobody.client(nobody.source(peer), &headers(&lines)), Ok(peer));
        // One that is trusted is, also where the system writes its address as an IPv6 one.
        assert_eq!(from("[::ffff:10.0.0.1]:5000", &lines[..1]), Ok("203.0.113.9:0".to_owned()));
    }

    #[test]
    fn headers_that_contradict_each_other_are_refused() {
        let forwarded = |hop| [("forwarded", hop), ("x-forwarded-for", "192.0.2.1")];
        for hop in ["for=203.0.113.9", "for=unknown", "proto=https", "", "for=203.0.113.9, for=10.0.0.2"] {
            assert_eq!(from(PROXY, &forwarded(hop)), Err(Contradiction), "{hop}");
        }
        assert_eq!(from(PROXY, &forwarded("for=\"192.0.2.1:80\"")), Ok("192.0.2.1:80".to_owned()));
    }

    #[test]
    fn what_is_announced_is_believed_of_proxies_alone_and_unknown_clients_say_nothing() {
        let proxies = proxies();
        let lines = headers(&[("x-forwarded-for", "203.0.113.9")]);
        let (proxy, stranger) = (PROXY.parse().unwrap(), "192.0.2.1:1".parse().unwrap());
        let client = "198.51.100.1:7".parse().unwrap();
        let said = |peer, announced| {
            let source = proxies.announced(proxies.source(peer), announced);
            (source.settled(), proxies.client(source, &lines).unwrap().to_string())
        };
        assert_eq!(said(proxy, Announced::Client(client)), (Some(client), client.to_string()));
        // Another proxy, which speaks HTTP.
        let inner = "10.7.7.7:1".parse().unwrap();
        assert_eq!(said(proxy, Announced::Client(inner)), (None, "203.0.113.9:0".to_owned()));
        assert_eq!(said(proxy, Announced::Nothing), (None, "203.0.113.9:0".to_owned()));
        assert_eq!(said(proxy, Announced::Own), (None, "203.0.113.9:0".to_owned()));
        assert_eq!(said(proxy, Announced::Unknown), (Some(proxy), PROXY.to_owned()));
        for announced in [Announced::Client(client), Announced::Unknown, Announced::Nothing] {
            assert_eq!(said(stranger, announced), (Some(stranger), stranger.to_string()));
        }
    }

    /// Bytes that a header may have, most of them ones that mean something.
    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "for=",
            "\"",
            "\\",
            ",",
            ";",
            "=",
            "[",
            "]",
            ":",
            " ",
            "\t",
            "10.0.0.2",
            "203.0.113.9",
            "2001:db8::1",
            "unknown",
            "_x",
            "proto=https",
            "FOR=",
            "\u{e9}",
        ]);
        let piece = prop_oneof![
            9 => pieces.prop_map(|piece| piece.as_bytes().to_vec()),
            1 => prop::collection::vec(0x20_u8..0x7f, 0..4),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    fn value(bytes: &[u8]) -> HeaderValue {
        HeaderValue::from_bytes(bytes).unwrap()
    }

    proptest! {
        /// Whatever a client writes, the proxy adds its address behind it, to the line or in a line of its own.
        #[test]
        fn no_client_can_say_that_it_is_another(
            forged in prop::collection::vec(anything(), 1..4),
            other in prop::option::of(anything()),
            is_same_line in any::<bool>(),
            is_forwarded in any::<bool>(),
            through in 0_usize..3,
        ) {
            let (name, added, hop, unused) = if is_forwarded {
                (FORWARDED, "for=\"198.51.100.1:5555\";proto=https", "for=10.0.0.2", X_FORWARDED_FOR)
            } else {
                (X_FORWARDED_FOR, "198.51.100.1:5555", "10.0.0.2", FORWARDED)
            };
            let mut lines = forged;
            if is_same_line {
                lines.last_mut().unwrap().extend_from_slice(format!(", {added}").as_bytes());
            } else {
                lines.push(added.as_bytes().to_vec());
            }
            for _ in 0..through {
                lines.last_mut().unwrap().extend_from_slice(format!(", {hop}").as_bytes());
            }
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(&name, value(line));
            }
            let is_contradicted = other.is_some();
            if let Some(other) = other {
                headers.insert(unused, value(&other));
            }
            let (proxies, client) = (proxies(), "198.51.100.1:5555".parse().unwrap());
            let source = proxies.source(PROXY.parse().unwrap());
            match proxies.client(source, &headers) {
                Ok(found) => prop_assert_eq!(found, client),
                Err(Contradiction) => prop_assert!(is_contradicted),
            }
            // Who comes without a proxy is who it is.
            let stranger = "192.0.2.1:9".parse().unwrap();
            prop_assert_eq!(proxies.client(proxies.source(stranger), &headers), Ok(stranger));
        }
    }
}
