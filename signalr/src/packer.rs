//! MessagePack being written.
//!
//! In: values, one after the other. Out: their bytes, each in its shortest form. Invariant: writing does not fail, and
//! the types show it: rmp's `ByteBuf` has no error.

use std::convert::Infallible;

use rmp::encode::{self, ByteBuf, ValueWriteError};

/// MessagePack that is being written.
#[derive(Debug)]
pub(crate) struct Packer(ByteBuf);

impl Packer {
    /// With `front` zeros at the front, for whoever knows only at the end what belongs there.
    pub(crate) fn new(front: usize, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(front + capacity);
        bytes.resize(front, 0);
        Self(ByteBuf::from_vec(bytes))
    }

    pub(crate) fn nil(&mut self) {
        let Ok(()) = encode::write_nil(&mut self.0);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        let Ok(()) = encode::write_bool(&mut self.0, value);
    }

    pub(crate) fn unsigned(&mut self, value: u64) {
        written(encode::write_uint(&mut self.0, value));
    }

    pub(crate) fn signed(&mut self, value: i64) {
        written(encode::write_sint(&mut self.0, value));
    }

    pub(crate) fn float(&mut self, value: f64) {
        written(encode::write_f64(&mut self.0, value));
    }

    pub(crate) fn text(&mut self, text: &str) {
        written(encode::write_str_len(&mut self.0, length(text.len())));
        self.raw(text.as_bytes());
    }

    pub(crate) fn binary(&mut self, bytes: &[u8]) {
        written(encode::write_bin_len(&mut self.0, length(bytes.len())));
        self.raw(bytes);
    }

    /// The head of an array; its elements follow.
    pub(crate) fn array(&mut self, count: usize) {
        written(encode::write_array_len(&mut self.0, length(count)));
    }

    /// The head of a map; its keys and values follow.
    pub(crate) fn map(&mut self, count: usize) {
        written(encode::write_map_len(&mut self.0, length(count)));
    }

    /// What is MessagePack already.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.as_mut_vec().extend_from_slice(bytes);
    }

    /// Where the next value goes, in bytes from the start.
    pub(crate) fn position(&self) -> usize {
        self.0.as_slice().len()
    }

    /// Makes what was written since `position` the elements of an array. How many there are is known only behind them,
    /// and the head's length depends on it.
    pub(crate) fn array_since(&mut self, position: usize, count: usize) {
        let mut head = Self::new(0, 5);
        head.array(count);
        self.0.as_mut_vec().splice(position..position, head.into_bytes());
    }

    /// The same for a map.
    pub(crate) fn map_since(&mut self, position: usize, count: usize) {
        let mut head = Self::new(0, 5);
        head.map(count);
        self.0.as_mut_vec().splice(position..position, head.into_bytes());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

/// A length as MessagePack has it. What is written is shorter than 4 GiB: values were bounded when they came in, and
/// the rest are names and errors of the server's own.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn written<T>(result: Result<T, ValueWriteError<Infallible>>) -> T {
    let Ok(written) = result;
    written
}
