//! One page of a long list: which rows match, in which order, and how many there are in all.
//!
//! In: everything there is, and a [`Page`]. Out: the page's part of it. Invariant: what costs much of a row (a text, a
//! lock) is looked at for the rows that the filter or the order needs, and otherwise for those of the page alone.

use std::cmp::Ordering;

use fanfare_protocol::Code;
use fanfare_protocol::admin::{ADMIN_PAGE_ROWS, AdminError, Page};

use crate::lists::{Key, ListQuestion, Place};

/// A kind of list.
pub(super) trait Rows {
    type Item;
    /// The fields by which it can be ordered. The first is the one that tells rows apart, and the default.
    const FIELDS: &'static [&'static str];

    /// The value of one of [`Self::FIELDS`].
    fn key(&self, item: &Self::Item, field: &str) -> Key;

    /// Whether a filter's text, which is in lower case, is in it.
    fn matches(&self, item: &Self::Item, text: &str) -> bool;
}

/// Which rows, and in which order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'a> {
    pub(super) filter: &'a str,
    pub(super) sort: &'a str,
    pub(super) descending: bool,
    pub(super) after: Option<&'a Place>,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

/// The items of a page.
#[derive(Debug)]
pub(super) struct Cut<I> {
    /// How many match in all.
    pub(super) total: u64,
    /// In their order, with their places.
    pub(super) items: Vec<(Place, I)>,
    /// Whether there are more behind them.
    pub(super) more: bool,
}

impl<'a> Slice<'a> {
    /// What an operator asks for, with the place behind which it begins.
    pub(super) fn of(page: &'a Page, after: Option<&'a Place>) -> Self {
        let Page { filter, sort, descending, offset, .. } = page;
        Self { filter, sort, descending: *descending, after, offset: *offset as usize, limit: limit(page) }
    }

    /// What a node asks for.
    pub(super) fn asked(question: &'a ListQuestion) -> Self {
        let ListQuestion { filter, sort, descending, after, limit, .. } = question;
        let (after, limit) = (after.as_ref(), *limit as usize);
        Self { filter, sort, descending: *descending, after, offset: 0, limit }
    }
}

/// How many rows a page has.
pub(super) fn limit(page: &Page) -> usize {
    let limit = if page.limit == 0 { ADMIN_PAGE_ROWS } else { page.limit.min(ADMIN_PAGE_ROWS) };
    limit as usize
}

/// Where a page begins.
pub(super) fn after(page: &Page) -> Result<Option<Place>, AdminError> {
    let read = |cursor: &String| {
        let message = "`after` is none that an answer to the same question had as its `next`".to_owned();
        Place::read(cursor).ok_or(AdminError { code: Code::InvalidRequest.number(), message })
    };
    page.after.as_ref().map(read).transpose()
}

/// The field that a list is sorted by.
pub(super) fn field<'a>(sort: &'a str, fields: &[&'a str]) -> Result<&'a str, AdminError> {
    let first = fields.first().copied().unwrap_or_default();
    let sort = if sort.is_empty() { first } else { sort };
    if fields.contains(&sort) {
        return Ok(sort);
    }
    let message = format!("there is no field {sort:?} to sort by; there are {}", fields.join(", "));
    Err(AdminError { code: Code::InvalidRequest.number(), message })
}

/// The items of a page, and how many match in all.
pub(super) fn cut<R: Rows>(
    rows: &R,
    mut items: Vec<R::Item>,
    slice: Slice<'_>,
) -> Result<Cut<R::Item>, AdminError> {
    let sort = field(slice.sort, R::FIELDS)?;
    let first = R::FIELDS.first().copied().unwrap_or_default();
    let filter = slice.filter.to_lowercase();
    if !filter.is_empty() {
        items.retain(|item| rows.matches(item, &filter));
    }
    let total = items.len() as u64;
    let id = |item: &R::Item| (sort != first).then(|| rows.key(item, first));
    let mut keyed: Vec<(Key, R::Item)> =
        items.into_iter().map(|item| (rows.key(&item, sort), item)).collect();
    let by = |a: &Key, b: &Key| if slice.descending { b.cmp(a) } else { a.cmp(b) };
    // Equal keys in the order of what tells them apart, so that pages neither repeat nor miss a row.
    let order = |a: &(Key, R::Item), b: &(Key, R::Item)| by(&a.0, &b.0).then_with(|| id(&a.1).cmp(&id(&b.1)));
    if let Some(after) = slice.after {
        let behind = |(key, item): &(Key, R::Item)| by(&after.by, key).then_with(|| after.id.cmp(&id(item)));
        keyed.retain(|row| behind(row) == Ordering::Less);
    }
    let start = slice.offset.min(keyed.len());
    let end = start.saturating_add(slice.limit).min(keyed.len());
    let more = end < keyed.len();
    // Of 100,000 rows only those of the page are put in order.
    if more {
        keyed.select_nth_unstable_by(end, order);
        keyed.truncate(end);
    }
    if start > 0 && start < keyed.len() {
        keyed.select_nth_unstable_by(start, order);
    }
    let mut of_page = keyed.split_off(start);
    of_page.sort_unstable_by(order);
    let placed = |(by, item): (Key, R::Item)| (Place { by, id: id(&item) }, item);
    Ok(Cut { total, items: of_page.into_iter().map(placed).collect(), more })
}

/// Whether `text`, in lower case, is in `shown`, whatever the case of that.
pub(super) fn is_in(shown: &str, text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    if shown.is_ascii() && text.is_ascii() {
        let (shown, text) = (shown.as_bytes(), text.as_bytes());
        return shown.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text));
    }
    shown.to_lowercase().contains(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Numbers;

    impl Rows for Numbers {
        type Item = (u64, u64);
        const FIELDS: &'static [&'static str] = &["id", "size"];

        fn key(&self, item: &Self::Item, field: &str) -> Key {
            if field == "id" { item.0.into() } else { item.1.into() }
        }

        fn matches(&self, item: &Self::Item, text: &str) -> bool {
            is_in(&item.0.to_string(), text)
        }
    }

    proptest! {
        #[test]
        fn pages_put_together_are_the_whole_sorted_list(
            sizes in prop::collection::vec(0_u64..5, 0..60), by_size: bool, descending: bool, limit in 1_u32..20,
        ) {
            let items: Vec<(u64, u64)> = (0..).zip(sizes).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(id, size)| {
                let key = if by_size { *size } else { *id };
                (if descending { u64::MAX - key } else { key }, *id)
            });
            let mut found = Vec::new();
            for offset in (0_u32..100).step_by(limit as usize) {
                let sort = if by_size { "size" } else { "" }.to_owned();
                let page = Page { sort, descending, offset, limit, ..Page::default() };
                let cut = cut(&Numbers, items.clone(), Slice::of(&page, None)).unwrap();
                prop_assert_eq!(cut.total, items.len() as u64);
                prop_assert!(cut.items.len() <= limit as usize);
                prop_assert_eq!(cut.more, (offset + limit) < u32::try_from(items.len()).unwrap());
                found.extend(cut.items.into_iter().map(|(_, item)| item));
            }
            prop_assert_eq!(&found, &expected);
            // The same from place to place.
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let sort = if by_size { "size" } else { "" }.to_owned();
                let page = Page { sort, descending, limit, ..Page::default() };
                let cut = cut(&Numbers, items.clone(), Slice::of(&page, after.as_ref())).unwrap();
                prop_assert_eq!(cut.total, items.len() as u64);
                after = cut.items.last().map(|(place, _)| place.clone());
                found.extend(cut.items.into_iter().map(|(_, item)| item));
                if !cut.more {
                    break;
                }
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_filter_counts_and_a_field_that_is_not_there_is_told() {
        let items: Vec<(u64, u64)> = (0..200).map(|number| (number, 0)).collect();
        let page = Page { filter: "19".to_owned(), limit: 3, ..Page::default() };
        let found = cut(&Numbers, items.clone(), Slice::of(&page, None)).unwrap();
        assert_eq!((found.total, found.items.len(), found.items[0].1.0), (12, 3, 19));
        let page = Page { sort: "colour".to_owned(), ..Page::default() };
        let error = cut(&Numbers, items, Slice::of(&page, None)).unwrap_err();
        assert!(error.message.contains("\"colour\"") && error.message.contains("id, size"), "{error}");
    }

    #[test]
    fn case_does_not_count() {
        assert!(is_in("Room-ÄÖ", "äö") && is_in("ALICE", "lic") && !is_in("al", "alice") && is_in("x", ""));
    }
}
