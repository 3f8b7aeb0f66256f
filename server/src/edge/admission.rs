//! How many connections there may be, in all and from one address.
//!
//! In: connections whose address QUIC has proven. Out: a slot, or the code of the limit that is reached. Invariant: a
//! slot is counted from [`Admission::admit`] until it is dropped, so that the counts cannot drift.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use fanfare_protocol::Code;
use parking_lot::Mutex;

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Admission {
    in_all: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Admission {
    pub(crate) fn new(in_all: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { in_all, per_address, taken: Mutex::default() })
    }

    /// Whether there is no room for one more, wherever it comes from.
    pub(crate) fn is_full(&self) -> bool {
        self.taken.lock().in_all >= self.in_all
    }

    /// A slot for a connection from `address`.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Code> {
        let source = source(address);
        let mut taken = self.taken.lock();
        if taken.in_all >= self.in_all {
            return Err(Code::ServerFull);
        }
        let from_here = taken.by_address.entry(source).or_default();
        // Refusing must not leave an entry behind; with a limit of at least 1 an entry of 0 is never refused.
        if *from_here >= self.per_address {
            return Err(Code::AddressFull);
        }
        *from_here += 1;
        taken.in_all += 1;
        Ok(Slot { admission: Arc::clone(self), source })
    }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 customer gets as a rule (RFC 6177).
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

/// One connection's place in the counts, given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    admission: Arc<Admission>,
    source: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.admission.taken.lock();
        taken.in_all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_limits_hold_and_slots_come_back() {
        let admission = Admission::new(3, 2);
        let first = admission.admit(ip("127.0.0.1")).unwrap();
        let _second = admission.admit(ip("127.0.0.1")).unwrap();
        assert_eq!(admission.admit(ip("127.0.0.1")).unwrap_err(), Code::AddressFull);
        let _other = admission.admit(ip("127.0.0.2")).unwrap();
        assert_eq!(admission.admit(ip("127.0.0.3")).unwrap_err(), Code::ServerFull);
        drop(first);
        let _again = admission.admit(ip("127.0.0.1")).unwrap();
    }

    #[test]
    fn one_ipv6_network_and_a_mapped_address_are_one_source() {
        let admission = Admission::new(10, 1);
        let slot = admission.admit(ip("2001:db8::1")).unwrap();
        assert_eq!(admission.admit(ip("2001:db8::2")).unwrap_err(), Code::AddressFull);
        assert!(admission.admit(ip("2001:db8:0:1::1")).is_ok());
        drop(slot);
        let _slot = admission.admit(ip("127.0.0.1")).unwrap();
        assert_eq!(admission.admit(ip("::ffff:127.0.0.1")).unwrap_err(), Code::AddressFull);
    }

    #[test]
    fn nothing_is_left_when_all_have_gone() {
        let admission = Admission::new(10, 10);
        drop(admission.admit(ip("127.0.0.1")).unwrap());
        let taken = admission.taken.lock();
        assert_eq!((taken.in_all, taken.by_address.len()), (0, 0));
    }
}
