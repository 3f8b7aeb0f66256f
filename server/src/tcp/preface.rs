//! What a proxy says of a connection before its first byte: the PROXY protocol's header, version 2.
//!
//! In: the first bytes of a connection from a trusted proxy. Out: what they say of where it comes from, and how many
//! bytes more have to be read for that. Invariants: not a byte behind the header is read; at most [`MOST_BYTES`] are
//! kept of it, and those only until it is whole.
//!
//! The specification is haproxy's `proxy-protocol.txt`, section 2.2. What the crates for it do not do is what is asked
//! for here: they refuse a family that they do not know, and `LOCAL` with addresses that it is to be taken without.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// What such a header begins with. Its first byte is one that neither TLS nor a request begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and protocol, and how many bytes follow.
const FIXED_BYTES: usize = 16;

/// The longest header that is taken: addresses are 36 bytes, and what proxies add to them are some hundred.
const MOST_BYTES: usize = 4_096;

/// How many bytes are read at a time.
const CHUNK: usize = 512;

/// What is said of a connection before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// Nothing: there is no header.
    Nothing,
    /// It is the proxy's own (`LOCAL`), as for a health check.
    Own,
    /// It is this client's.
    Client(SocketAddr),
    /// It is a client's, of which the header does not say what address it has over TCP.
    Unknown,
}

/// Why a header is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrefaceError {
    #[error("it begins as a PROXY header does, and is none of version 2")]
    Signature,
    #[error("the PROXY header has version and command {0:#04x}, which are neither 0x20 nor 0x21")]
    Command(u8),
    #[error("the PROXY header has {0} bytes, which are too many")]
    TooLong(usize),
    #[error("the PROXY header ends in its addresses")]
    TooShort,
    #[error("the connection ended in the PROXY header")]
    CutOff,
}

impl From<PrefaceError> for io::Error {
    fn from(error: PrefaceError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// What has come of a header.
#[derive(Debug, Default)]
pub(crate) struct Preface {
    read: Vec<u8>,
}

/// What is to be done with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// At most so many bytes more are of it.
    Wants(usize),
    /// It is whole.
    Says(Announced),
}

impl Preface {
    /// Reads it from a socket that nobody else reads, and nothing behind it.
    pub(crate) fn poll(
        &mut self,
        socket: &TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Announced>> {
        if self.read.is_empty() {
            let mut first = [0];
            let mut buffer = ReadBuf::new(&mut first);
            ready!(socket.poll_peek(context, &mut buffer))?;
            if buffer.filled().first() != SIGNATURE.first() {
                return Poll::Ready(Ok(Announced::Nothing));
            }
        }
        loop {
            let wanted = match self.progress()? {
                Progress::Says(announced) => return Poll::Ready(Ok(announced)),
                Progress::Wants(wanted) => wanted,
            };
            ready!(socket.poll_read_ready(context))?;
            let mut chunk = [0; CHUNK];
            let room = chunk.get_mut(..wanted.min(CHUNK)).unwrap_or_default();
            match socket.try_read(room) {
                Ok(0) => return Poll::Ready(Err(PrefaceError::CutOff.into())),
                Ok(count) => self.take(room.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Takes no more than is [wanted](Progress::Wants).
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.read.extend_from_slice(bytes);
    }

    /// How far it has come.
    ///
    /// # Errors
    /// It is no header: told as soon as it can be known.
    pub(crate) fn progress(&self) -> Result<Progress, PrefaceError> {
        if self.read.iter().zip(&SIGNATURE).any(|(read, right)| read != right) {
            return Err(PrefaceError::Signature);
        }
        let Some((fixed, rest)) = self.read.split_first_chunk::<FIXED_BYTES>() else {
            return Ok(Progress::Wants(FIXED_BYTES - self.read.len()));
        };
        let [.., command, family, high, low] = *fixed;
        if ![0x20, 0x21].contains(&command) {
            return Err(PrefaceError::Command(command));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if FIXED_BYTES + length > MOST_BYTES {
            return Err(PrefaceError::TooLong(FIXED_BYTES + length));
        }
        if let Some(missing) = length.checked_sub(rest.len()).filter(|missing| *missing > 0) {
            return Ok(Progress::Wants(missing));
        }
        let announced = match (command, family) {
            (0x20, _) => Announced::Own,
            (_, 0x11) => Announced::Client(ipv4(rest).ok_or(PrefaceError::TooShort)?),
            (_, 0x21) => Announced::Client(ipv6(rest).ok_or(PrefaceError::TooShort)?),
            _ => Announced::Unknown,
        };
        Ok(Progress::Says(announced))
    }
}

/// Source, destination, the source's port, the destination's.
fn ipv4(rest: &[u8]) -> Option<SocketAddr> {
    let [source @ .., _, _, _, _, high, low, _, _] = rest.first_chunk::<12>()?;
    Some(address(Ipv4Addr::from(*source), *high, *low))
}

/// The same with longer addresses.
fn ipv6(rest: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (_destination, ports) = rest.split_first_chunk::<16>()?;
    let [high, low, _, _] = ports.first_chunk::<4>()?;
    Some(address(Ipv6Addr::from(*source), *high, *low))
}

fn address(ip: impl Into<IpAddr>, high: u8, low: u8) -> SocketAddr {
    SocketAddr::new(ip.into().to_canonical(), u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x15, 0xb3, 0x01, 0xbb];

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn v6() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
        [&source.octets()[..], &[0; 16], &[0x15, 0xb3, 0x01, 0xbb]].concat()
    }

    /// What these bytes say that come one by one, and how many of them were read.
    fn read(bytes: &[u8]) -> (Result<Progress, PrefaceError>, usize) {
        let mut preface = Preface::default();
        for (count, byte) in bytes.iter().enumerate() {
            match preface.progress() {
                Ok(Progress::Wants(wanted)) => assert!(wanted > 0),
                done => return (done, count),
            }
            preface.take(&[*byte]);
        }
        (preface.progress(), bytes.len())
    }

    fn says(bytes: &[u8]) -> Announced {
        let (Ok(Progress::Says(announced)), count) = read(bytes) else { panic!("{:?}", read(bytes)) };
        assert_eq!(count, bytes.len(), "all of it is the header");
        announced
    }

    #[test]
    fn a_client_over_tcp_is_named_and_everything_else_is_not() {
        let v4 = Announced::Client("192.0.2.1:5555".parse().unwrap());
        let v6_client = Announced::Client("[2001:db8::1]:5555".parse().unwrap());
        let tlvs = [&V4[..], &[0x04, 0, 3, 1, 2, 3], &[0xe0, 0, 200], &[7; 200]].concat();
        assert_eq!(says(&header(0x21, 0x11, &V4)), v4);
        assert_eq!(says(&header(0x21, 0x11, &tlvs)), v4);
        assert_eq!(says(&header(0x21, 0x21, &v6())), v6_client);
        for rest in [&[][..], &V4, &tlvs] {
            assert_eq!(says(&header(0x20, 0x00, rest)), Announced::Own);
            assert_eq!(says(&header(0x20, 0x11, rest)), Announced::Own);
            // Unspecified, over UDP, a Unix socket, and what no version has yet.
            for family in [0x00, 0x01, 0x12, 0x22, 0x31, 0x32, 0x41, 0xff] {
                assert_eq!(says(&header(0x21, family, rest)), Announced::Unknown);
            }
        }
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
        let rest = [&mapped.octets()[..], &[0; 16], &[0x15, 0xb3, 0, 0]].concat();
        assert_eq!(says(&header(0x21, 0x21, &rest)), v4);
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_can_be_known() {
        let refused = |bytes: &[u8]| match read(bytes) {
            (Err(error), count) => (error, count),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(b"\r\n\r\n\0\r\nQUITS and more"), (PrefaceError::Signature, 12));
        assert_eq!(refused(b"\r\nGET / HTTP/1.1\r\n"), (PrefaceError::Signature, 3));
        for command in [0x00, 0x11, 0x22, 0x31, 0xff] {
            assert_eq!(refused(&header(command, 0x11, &V4)).0, PrefaceError::Command(command));
        }
        assert_eq!(refused(&header(0x21, 0x11, &V4[..11])).0, PrefaceError::TooShort);
        assert_eq!(refused(&header(0x21, 0x21, &v6()[..35])).0, PrefaceError::TooShort);
        // Before a byte of what would be too much was read.
        let long = header(0x21, 0x11, &[0; MOST_BYTES]);
        assert_eq!(refused(&long), (PrefaceError::TooLong(MOST_BYTES + FIXED_BYTES), FIXED_BYTES));
        assert_eq!(says(&header(0x21, 0x00, &[0; MOST_BYTES - FIXED_BYTES])), Announced::Unknown);
    }

    #[tokio::test]
    async fn what_stands_behind_a_header_is_left_for_who_reads_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (first, says) in [
            (header(0x21, 0x11, &V4), Ok(Announced::Client("192.0.2.1:5555".parse().unwrap()))),
            (Vec::new(), Ok(Announced::Nothing)),
            (header(0x99, 0x11, &V4), Err(io::ErrorKind::InvalidData)),
        ] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            client.write_all(&[&first[..], b"\x16\x03 and so on"].concat()).await.unwrap();
            drop(client);
            let mut preface = Preface::default();
            let announced = std::future::poll_fn(|context| preface.poll(&server, context)).await;
            assert_eq!(announced.map_err(|error| error.kind()), says);
            if says.is_ok() {
                let mut rest = Vec::new();
                server.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest, b"\x16\x03 and so on");
            }
        }
    }

    #[tokio::test]
    async fn a_header_that_is_cut_off_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(&SIGNATURE[..7]).await.unwrap();
        drop(client);
        let mut preface = Preface::default();
        let error = std::future::poll_fn(|context| preface.poll(&server, context)).await.unwrap_err();
        assert_eq!(error.to_string(), PrefaceError::CutOff.to_string());
    }

    proptest! {
        /// Headers, some with a byte changed, and bytes that are none.
        #[test]
        fn any_bytes_are_a_header_or_refused_and_only_a_whole_one_names_a_client(
            command in prop::sample::select(vec![0x20, 0x21, 0x21, 0x31]),
            family in prop::sample::select(vec![0x00, 0x11, 0x12, 0x21, 0x31, 0xf1]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            tail in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = header(command, family, &rest);
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let whole = bytes.len();
            bytes.extend(&tail);
            let (progress, count) = read(&bytes);
            prop_assert!(count <= MOST_BYTES);
            match progress {
                Ok(Progress::Wants(wanted)) => prop_assert!(count == bytes.len() && wanted <= MOST_BYTES),
                Ok(Progress::Says(announced)) => {
                    prop_assert!(change.is_some() || count == whole, "the tail is not of it");
                    prop_assert!(announced != Announced::Nothing);
                    if let Announced::Client(client) = announced {
                        let IpAddr::V4(ip) = client.ip() else { return Ok(()) };
                        let is_mapped = bytes[13] == 0x21;
                        prop_assert!(is_mapped || bytes[16..].starts_with(&ip.octets()));
                    }
                }
                Err(_) => {}
            }
        }
    }
}
