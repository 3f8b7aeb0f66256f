//! Many UDP datagrams in one system call (`sendmmsg`, with generic segmentation offload; Linux).
//!
//! In: a socket, and bursts of datagrams that have their source address and their ECN bits in common. Out: how many
//! bursts the kernel took. Invariant: nothing is kept; every pointer that the kernel gets is to what the caller lends
//! or to what lives on this call's stack. This crate is a leaf of its own because it needs unsafe code, which is
//! forbidden everywhere else.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The most that go in one call. More are left for the next.
pub const MOST: usize = 64;

/// Whether this system can do it.
pub const SUPPORTED: bool = cfg!(target_os = "linux");

/// The most datagrams that the kernel cuts one burst into (`UDP_MAX_SEGMENTS` of older kernels).
pub const MOST_SEGMENTS: usize = 64;

/// The most bytes of one burst: what fits into one IP packet, which is what the kernel makes of it first.
pub const MOST_BYTES: usize = 65_000;

/// One datagram, or several to the same destination.
#[derive(Debug, Clone, Copy)]
pub struct Burst<'a> {
    /// To whom.
    pub destination: SocketAddr,
    /// What is in it: one datagram, or several of the same size, of which the last may be shorter.
    pub contents: &'a [u8],
    /// The size of each but the last. One that is not smaller than the contents makes it one datagram.
    pub segment: u16,
}

/// What all bursts of a call have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common {
    /// The address that they are from; `None` leaves it to the system.
    pub source: Option<IpAddr>,
    /// The two bits of explicit congestion notification (RFC 3168).
    pub ecn: u8,
    /// Whether their destinations are IPv4 addresses, or IPv6 addresses that IPv4 ones are mapped to (on a socket of
    /// both).
    pub ipv4: bool,
}

/// Sends bursts from the first on, up to [`MOST`]. Returns how many the kernel took: fewer than there are where the
/// next one failed, which the next call would tell.
///
/// # Errors
/// Why not even the first could be sent, among them [`io::ErrorKind::WouldBlock`] on a socket that does not block, and
/// [`io::ErrorKind::Unsupported`] where [`SUPPORTED`] is false.
#[cfg(target_os = "linux")]
pub fn send_many(socket: &UdpSocket, common: Common, bursts: &[Burst<'_>]) -> io::Result<usize> {
    linux::send_many(socket, common, bursts)
}

/// See above.
#[cfg(not(target_os = "linux"))]
pub fn send_many(_: &UdpSocket, _: Common, _: &[Burst<'_>]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "see the crate's description; each block says why it is sound")]
mod linux {
    use std::io::{self, IoSlice};
    use std::mem::{MaybeUninit, offset_of, size_of};
    use std::net::{IpAddr, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::ptr;

    use socket2::SockAddr;

    use super::{Burst, Common, MOST};

    pub(super) fn send_many(socket: &UdpSocket, common: Common, bursts: &[Burst<'_>]) -> io::Result<usize> {
        let bursts = bursts.get(..MOST).unwrap_or(bursts);
        let mut controls: Vec<Control> = bursts.iter().map(|burst| Control::new(common, burst)).collect();
        let addresses: Vec<SockAddr> = bursts.iter().map(|burst| SockAddr::from(burst.destination)).collect();
        let mut slices: Vec<IoSlice<'_>> = bursts.iter().map(|burst| IoSlice::new(burst.contents)).collect();
        let mut headers: Vec<libc::mmsghdr> = Vec::with_capacity(bursts.len());
        for ((address, slice), control) in addresses.iter().zip(&mut slices).zip(&mut controls) {
            // SAFETY: `mmsghdr` is a C struct of integers and pointers, for all of which zero is a value.
            let mut header: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
            // The kernel does not write to the address when it sends; the type is not const because `recvmsg` shares
            // it.
            header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = address.len();
            // `IoSlice` has the layout of `iovec` on Unix, as its documentation promises.
            header.msg_hdr.msg_iov = ptr::from_mut(slice).cast();
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.length as _;
            headers.push(header);
        }
        let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
        loop {
            // SAFETY: `headers` has `count` initialised elements, which the kernel may write `msg_len` to. What they
            // point to (addresses, slices and their contents, controls) is borrowed or owned by this function and
            // outlives the call.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
            if let Ok(sent) = usize::try_from(sent) {
                return Ok(sent);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// What is said beside the contents: control messages one behind the other, each a `cmsghdr` and its data, each at
    /// a multiple of the alignment (cmsg(3)).
    #[repr(C, align(8))]
    struct Control {
        bytes: [u8; 96],
        length: usize,
    }

    impl Control {
        fn new(common: Common, burst: &Burst<'_>) -> Self {
            let mut control = Self { bytes: [0; 96], length: 0 };
            let class = libc::c_int::from(common.ecn & 0b11).to_ne_bytes();
            if common.ipv4 {
                control.push(libc::IPPROTO_IP, libc::IP_TOS, &class);
            } else {
                control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class);
            }
            match common.source {
                // `in_pktinfo`: an interface, the source address, and one that counts only for what is received.
                Some(IpAddr::V4(source)) => {
                    let mut info = [0; size_of::<libc::in_pktinfo>()];
                    let at = offset_of!(libc::in_pktinfo, ipi_spec_dst);
                    info.iter_mut().skip(at).zip(source.octets()).for_each(|(place, octet)| *place = octet);
                    control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
                }
                // `in6_pktinfo`: the source address, and an interface.
                Some(IpAddr::V6(source)) => {
                    let mut info = [0; size_of::<libc::in6_pktinfo>()];
                    let at = offset_of!(libc::in6_pktinfo, ipi6_addr);
                    info.iter_mut().skip(at).zip(source.octets()).for_each(|(place, octet)| *place = octet);
                    control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
                }
                None => {}
            }
            if usize::from(burst.segment) < burst.contents.len() {
                control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &burst.segment.to_ne_bytes());
            }
            control
        }

        fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
            const HEADER: usize = size_of::<libc::cmsghdr>();
            const LENGTH: usize = offset_of!(libc::cmsghdr, cmsg_level) - offset_of!(libc::cmsghdr, cmsg_len);
            // `cmsg_len` has four or eight bytes, by the processor and the C library.
            let length = ((HEADER + data.len()) as u64).to_ne_bytes();
            let length = if cfg!(target_endian = "big") {
                length.last_chunk::<LENGTH>()
            } else {
                length.first_chunk()
            };
            let fields = [
                (offset_of!(libc::cmsghdr, cmsg_len), length.map_or(&[][..], |length| &length[..])),
                (offset_of!(libc::cmsghdr, cmsg_level), &level.to_ne_bytes()[..]),
                (offset_of!(libc::cmsghdr, cmsg_type), &kind.to_ne_bytes()[..]),
                (HEADER, data),
            ];
            for (at, field) in fields {
                let places = self.bytes.iter_mut().skip(self.length + at);
                places.zip(field).for_each(|(place, byte)| *place = *byte);
            }
            self.length += HEADER + data.len().next_multiple_of(size_of::<usize>());
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn received(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 2_048];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    fn socket(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        socket
    }

    #[test]
    fn datagrams_go_where_they_must_in_order_from_the_address_that_was_asked_for() {
        for (any, source, other) in [
            ("0.0.0.0", "127.0.0.2", "127.0.0.1"),
            ("::", "::1", "::1"),
            ("::", "::ffff:127.0.0.2", "127.0.0.1"),
        ] {
            let (sender, one, two) = (socket(any), socket(other), socket(other));
            let source: IpAddr = source.parse().unwrap();
            for source in [None, Some(source)] {
                let both = sender.local_addr().unwrap().is_ipv6();
                let [one_at, two_at] = [&one, &two].map(|socket| match socket.local_addr().unwrap() {
                    SocketAddr::V4(v4) if both => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
                    other => other,
                });
                let bursts = [
                    Burst { destination: one_at, contents: b"first", segment: 5 },
                    Burst { destination: two_at, contents: b"", segment: 1 },
                    Burst { destination: one_at, contents: &[7; 1_400], segment: u16::MAX },
                    Burst { destination: two_at, contents: b"aabbccd", segment: 2 },
                ];
                let common = Common { source, ecn: 2, ipv4: one_at.ip().to_canonical().is_ipv4() };
                assert_eq!(send_many(&sender, common, &bursts).unwrap(), 4);
                let mut buffer = [0; 8];
                let (length, from) = one.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], b"first");
                if let Some(source) = source {
                    assert_eq!(from.ip(), source.to_canonical());
                }
                for datagram in ["", "aa", "bb", "cc", "d"] {
                    assert_eq!(received(&two), datagram.as_bytes());
                }
                assert_eq!(received(&one), vec![7; 1_400]);
            }
        }
    }

    #[test]
    fn one_that_cannot_go_ends_the_call_and_is_told_by_the_next() {
        let (sender, receiver) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let destination = receiver.local_addr().unwrap();
        let too_long = vec![0; 70_000];
        let bursts = [b"fine".as_slice(), &too_long, b"behind"];
        let bursts = bursts.map(|contents| Burst { destination, contents, segment: u16::MAX });
        let common = Common { source: None, ecn: 0, ipv4: true };
        assert_eq!(send_many(&sender, common, &bursts).unwrap(), 1);
        assert!(send_many(&sender, common, &bursts[1..]).is_err());
        assert_eq!(send_many(&sender, common, &bursts[2..]).unwrap(), 1);
        assert_eq!([received(&receiver), received(&receiver)], [b"fine".to_vec(), b"behind".to_vec()]);
    }

    #[test]
    fn no_more_go_than_one_call_takes() {
        let (sender, receiver) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let one = Burst { destination: receiver.local_addr().unwrap(), contents: b"x", segment: 1 };
        let common = Common { source: None, ecn: 0, ipv4: true };
        assert_eq!(send_many(&sender, common, &[one; 100]).unwrap(), MOST);
        assert_eq!(send_many(&sender, common, &[]).unwrap(), 0);
    }
}
