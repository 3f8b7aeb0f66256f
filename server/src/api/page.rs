//! Long lists, a page at a time.
//!
//! In: everything there is, where the last page ended, and how much a page has. Out: the page, and where the next
//! begins. Invariant: whatever comes and goes between two pages, what is there all the time is on one of them, once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::Problem;

/// How many rows a page has where nothing else is said, and at most.
const ROWS: usize = 100;
const MOST_ROWS: usize = 1_000;

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The `next` of the page before; the first page, if it is not given.
    cursor: Option<String>,
    /// At most so many rows; 100, if it is not given, and 1,000 at most.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// Only those whose names begin with this.
    prefix: Option<String>,
}

impl PageQuery {
    /// Whether only some names are wanted, and this is none of them.
    pub(crate) fn passes_over(&self, name: &str) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| !name.starts_with(prefix))
    }

    /// How many rows the page has.
    pub(crate) fn rows(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(ROWS);
        if (1..=MOST_ROWS).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::invalid(format!("a page has 1 to {MOST_ROWS} rows")))
    }

    /// Behind what it begins.
    pub(crate) fn after(&self) -> Result<Option<String>, Problem> {
        let read = |cursor: &String| String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok();
        let after = self.cursor.as_ref().map(|cursor| read(cursor).ok_or_else(unknown_cursor));
        after.transpose()
    }

    /// The cursor of a page that begins behind this.
    pub(crate) fn cursor(last: &str) -> String {
        URL_SAFE_NO_PAD.encode(last)
    }

    /// What the names that are wanted begin with.
    pub(crate) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// The page of these items, in the order of what tells them apart; and the cursor of the next.
    pub(crate) fn cut<T>(
        &self,
        mut items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        let limit = self.rows()?;
        if let Some(after) = self.after()? {
            items.retain(|item| key(item) > after);
        }
        let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
        let has_more = keyed.len() > limit;
        if has_more {
            keyed.select_nth_unstable_by(limit, |one, other| one.0.cmp(&other.0));
            keyed.truncate(limit);
        }
        keyed.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let last = keyed.last().filter(|_| has_more);
        let next = last.map(|(key, _)| Self::cursor(key));
        Ok((keyed.into_iter().map(|(_, item)| item).collect(), next))
    }
}

pub(crate) fn unknown_cursor() -> Problem {
    Problem::invalid("the cursor is none that was given out")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_there_all_the_time_is_on_one_page(
            stay in prop::collection::btree_set("[a-c\u{e9}]{1,3}", 0..20),
            others in prop::collection::vec(prop::collection::btree_set("[a-c]{1,3}", 0..9), 40),
            limit in 1usize..9,
        ) {
            let mut page = PageQuery { limit: Some(limit), ..PageQuery::default() };
            let (mut seen, mut turn) = (Vec::new(), 0);
            loop {
                let there: BTreeSet<String> = stay.union(&others[turn % others.len()]).cloned().collect();
                let (rows, next) = page.cut(there.into_iter().collect(), Clone::clone).unwrap();
                prop_assert!(rows.len() <= limit && (next.is_none() || rows.len() == limit));
                seen.extend(rows);
                turn += 1;
                match next {
                    Some(next) => page.cursor = Some(next),
                    None => break,
                }
            }
            prop_assert!(seen.is_sorted_by(|one, other| one < other), "in order, and none twice");
            prop_assert!(stay.iter().all(|name| seen.contains(name)));
        }
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for (cursor, limit) in [(None, Some(0)), (None, Some(1_001)), (Some("?"), None), (Some("_w"), None)] {
            let page = PageQuery { cursor: cursor.map(str::to_owned), limit, prefix: None };
            assert!(page.cut(vec![String::new()], Clone::clone).is_err(), "{cursor:?} {limit:?}");
        }
    }
}
