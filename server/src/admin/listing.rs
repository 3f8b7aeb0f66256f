//! One page of a long list: which rows match, in which order, and how many there are in all.
//!
//! In: everything there is, and a [`Page`]. Out: the page's part of it. Invariant: what costs much of a row (a text, a
//! lock) is looked at for the rows that the filter or the order needs, and otherwise for those of the page alone.

use fanfare_protocol::Code;
use fanfare_protocol::admin::{ADMIN_PAGE_ROWS, AdminError, Page};

/// What a list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Id([u8; 16]),
    Number(u64),
    Text(String),
}

impl From<usize> for Key {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

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

/// The items of a page, and how many match in all.
pub(super) fn cut<R: Rows>(
    rows: &R,
    mut items: Vec<R::Item>,
    page: &Page,
) -> Result<(u64, Vec<R::Item>), AdminError> {
    let first = R::FIELDS.first().copied().unwrap_or_default();
    let sort = if page.sort.is_empty() { first } else { page.sort.as_str() };
    if !R::FIELDS.contains(&sort) {
        let message = format!("there is no field {sort:?} to sort by; there are {}", R::FIELDS.join(", "));
        return Err(AdminError { code: Code::InvalidRequest.number(), message });
    }
    let filter = page.filter.to_lowercase();
    if !filter.is_empty() {
        items.retain(|item| rows.matches(item, &filter));
    }
    let total = items.len();
    let limit = if page.limit == 0 { ADMIN_PAGE_ROWS } else { page.limit.min(ADMIN_PAGE_ROWS) } as usize;
    let start = (page.offset as usize).min(total);
    let end = start.saturating_add(limit).min(total);
    let mut keyed: Vec<(Key, R::Item)> =
        items.into_iter().map(|item| (rows.key(&item, sort), item)).collect();
    // Equal keys in the order of what tells them apart, so that pages neither repeat nor miss a row.
    let order = |a: &(Key, R::Item), b: &(Key, R::Item)| {
        let by_sort = if page.descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
        by_sort.then_with(|| {
            if sort == first {
                std::cmp::Ordering::Equal
            } else {
                rows.key(&a.1, first).cmp(&rows.key(&b.1, first))
            }
        })
    };
    // Of 100,000 rows only those of the page are put in order.
    if end < keyed.len() {
        keyed.select_nth_unstable_by(end, order);
        keyed.truncate(end);
    }
    if start > 0 && start < keyed.len() {
        keyed.select_nth_unstable_by(start, order);
    }
    let mut of_page = keyed.split_off(start);
    of_page.sort_unstable_by(order);
    Ok((total as u64, of_page.into_iter().map(|(_, item)| item).collect()))
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
            for offset in (0..100).step_by(limit as usize) {
                let sort = if by_size { "size" } else { "" }.to_owned();
                let page = Page { sort, descending, offset, limit, ..Page::default() };
                let (total, rows) = cut(&Numbers, items.clone(), &page).unwrap();
                prop_assert_eq!(total, items.len() as u64);
                prop_assert!(rows.len() <= limit as usize);
                found.extend(rows);
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_filter_counts_and_a_field_that_is_not_there_is_told() {
        let items: Vec<(u64, u64)> = (0..200).map(|number| (number, 0)).collect();
        let page = Page { filter: "19".to_owned(), limit: 3, ..Page::default() };
        let (total, rows) = cut(&Numbers, items.clone(), &page).unwrap();
        assert_eq!((total, rows.len(), rows[0].0), (12, 3, 19));
        let page = Page { sort: "colour".to_owned(), ..Page::default() };
        let error = cut(&Numbers, items, &page).unwrap_err();
        assert!(error.message.contains("\"colour\"") && error.message.contains("id, size"), "{error}");
    }

    #[test]
    fn case_does_not_count() {
        assert!(is_in("Room-ÄÖ", "äö") && is_in("ALICE", "lic") && !is_in("al", "alice") && is_in("x", ""));
    }
}
