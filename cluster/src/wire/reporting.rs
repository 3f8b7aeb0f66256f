//! Reports of what is occupied, and their answers, as bytes and back.
//!
//! In and out as in `wire`. A report: the claim, the session, its number, the claim that the sender had, the one by
//! which it told nothing, the one before that (`u64` each), whether it is whole (a byte), how many items (`u16`), and
//! the items: a number (`u64`), flags (a byte: 1 it is occupied, 2 that was told, 4 it is a user in a group, 8 it is
//! owed, 16 that is doubted), by which claim (`u64`) where it is owed or that is doubted, the group's name, and the
//! user's where it is one. An answer: the claim, the session, the number, how many are settled (`u32`), and their
//! numbers.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fanfare_protocol::{GroupName, UserName};

use super::error::WireError;
use super::parts::{SHORT, byte, name, number, text};
use crate::reports::{Report, Reported, Void};
use crate::subject::{Item, Subject, Told};

const HERE: u8 = 1;
const TOLD: u8 = 2;
const USER: u8 = 4;
const OWED: u8 = 8;
const DOUBTED: u8 = 16;

pub(super) fn put_report(bytes: &mut BytesMut, report: &Report) {
    let Report { claim, session, number, had, void, .. } = *report;
    [claim, session, number, had, void.revision, void.before]
        .into_iter()
        .for_each(|number| bytes.put_u64_le(number));
    bytes.put_u8(report.is_whole.into());
    // A report has far fewer.
    let count = u16::try_from(report.items.len()).unwrap_or(u16::MAX);
    bytes.put_u16_le(count);
    for Item { number, subject, is_here, told } in report.items.iter().take(count.into()) {
        let (group, user) = match subject {
            Subject::Group(group) => (group, None),
            Subject::User(group, user) => (group, Some(user)),
        };
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        bytes.put_u64_le(*number);
        let (told, claim) = match told {
            Told::No => (0, None),
            Told::Kept => (TOLD, None),
            Told::Owed(claim) => (OWED, Some(*claim)),
            Told::Doubted(claim) => (DOUBTED, Some(*claim)),
        };
        bytes.put_u8(flag(*is_here, HERE) | flag(user.is_some(), USER) | told);
        claim.into_iter().for_each(|claim| bytes.put_u64_le(claim));
        name(bytes, group.as_str());
        user.into_iter().for_each(|user| name(bytes, user.as_str()));
    }
}

pub(super) fn report(rest: &mut Bytes) -> Result<Report, WireError> {
    let (claim, session, of, had) = (number(rest)?, number(rest)?, number(rest)?, number(rest)?);
    let void = Void { revision: number(rest)?, before: number(rest)? };
    let is_whole = byte(rest)? != 0;
    let count = rest.try_get_u16_le().map_err(|_| SHORT)?;
    let items = (0..count).map(|_| item(rest)).collect::<Result<_, _>>()?;
    Ok(Report { claim, session, number: of, had, void, is_whole, items })
}

fn item(rest: &mut Bytes) -> Result<Item, WireError> {
    let (of, flags, mut name) = (number(rest)?, byte(rest)?, Bytes::new());
    let told = match flags {
        flags if flags & OWED != 0 => Told::Owed(number(rest)?),
        flags if flags & DOUBTED != 0 => Told::Doubted(number(rest)?),
        flags if flags & TOLD != 0 => Told::Kept,
        _ => Told::No,
    };
    let group = GroupName::new(text(rest, &mut name)?)
        .map_err(|_| WireError::Malformed("a group in it has no possible name"))?;
    let subject = if flags & USER == 0 {
        Subject::Group(group)
    } else {
        let user = UserName::new(text(rest, &mut name)?)
            .map_err(|_| WireError::Malformed("a user in it has no possible name"))?;
        Subject::User(group, user)
    };
    Ok(Item { number: of, subject, is_here: flags & HERE != 0, told })
}

pub(super) fn put_reported(bytes: &mut BytesMut, reported: &Reported) {
    let Reported { claim, session, number, settled } = reported;
    [claim, session, number].into_iter().for_each(|number| bytes.put_u64_le(*number));
    let count = u32::try_from(settled.len()).unwrap_or(u32::MAX);
    bytes.put_u32_le(count);
    settled.iter().take(count as usize).for_each(|number| bytes.put_u64_le(*number));
}

pub(super) fn reported(rest: &mut Bytes) -> Result<Reported, WireError> {
    let (claim, session, of) = (number(rest)?, number(rest)?, number(rest)?);
    let count = rest.try_get_u32_le().map_err(|_| SHORT)? as usize;
    // Before anything is allocated for them.
    if rest.len() / 8 < count {
        return Err(SHORT);
    }
    let settled = (0..count).map(|_| number(rest)).collect::<Result<_, _>>()?;
    Ok(Reported { claim, session, number: of, settled })
}
