//! Features: what of a later version both sides of one connection understand.
//!
//! In: the bits that the client offers in `Hello`. Out: those of them that the server chooses, in `Welcome`. Invariant:
//! what is chosen was offered and is known here, so nobody is sent what it did not ask for.

/// A set of features, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);

    /// Calls: methods of the application, and methods of the client ([`crate::call`]). A server chooses it where there
    /// is an application.
    pub const CALLS: Self = Self(1 << 1);
    /// Presence: who is in a group, for those who may watch it ([`crate::presence`]).
    pub const PRESENCE: Self = Self(1 << 2);
    /// The features that this version has; docs/protocol/compatibility.md says which other bits are reserved.
    pub const KNOWN: Self = Self(Self::CALLS.0 | Self::PRESENCE.0);

    /// The set with these bits, known or not.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, as they go over the wire.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Those that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// These without those that are in `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether all of these are in `others`.
    #[must_use]
    pub const fn are_in(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_was_offered_and_is_known() {
        for offered in [0, 1, 1 << 63, u64::MAX] {
            let offered = Features::from_bits(offered);
            let chosen = offered.and(Features::KNOWN);
            assert!(chosen.are_in(offered) && chosen.are_in(Features::KNOWN));
        }
        assert!(Features::NONE.are_in(Features::NONE));
        assert!(Features::from_bits(0b101).are_in(Features::from_bits(0b111)));
        assert!(!Features::from_bits(0b101).are_in(Features::from_bits(0b110)));
        assert_eq!(
            Features::from_bits(0b101).without(Features::from_bits(0b110)),
            Features::from_bits(0b001)
        );
        assert_eq!(Features::from_bits(0b101).and(Features::from_bits(0b110)), Features::from_bits(0b100));
    }
}
