//! The members of one JSON object.
//!
//! In: an object that is all there is. Out: each member, in the order in which they come. Invariant: names are as they
//! are meant, whatever escapes they are written with.

use crate::json::{Raw, Scanner, unescaped};
use crate::{DecodeError, Problem, ShapeError, SyntaxError};

/// Visits each member. At most `levels` objects and arrays may lie in one another, this one among them.
pub(crate) fn each_member<'a>(
    object: &'a [u8],
    levels: usize,
    mut visit: impl FnMut(&str, Raw<'a>) -> Result<(), ShapeError>,
) -> Result<(), DecodeError> {
    let mut scanner = Scanner::new(object, levels)?;
    if scanner.peek().is_some_and(|byte| byte != b'{') {
        return Err(ShapeError::NotA("object").into());
    }
    scanner.open(b'{')?;
    let mut is_first = true;
    while scanner.more(b'}', is_first)? {
        is_first = false;
        let name = scanner.name()?;
        let value = scanner.value()?;
        let name = unescaped(name).ok_or(SyntaxError { at: 0, problem: Problem::Escape })?;
        visit(&name, value)?;
    }
    scanner.end()?;
    Ok(())
}
