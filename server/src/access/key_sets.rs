//! The key sets that URLs give: fetched, and looked at again when their time has come.
//!
//! In: URLs. Out: the keys in force, at any time and without waiting. One task looks at all of them: when an answer's
//! `Cache-Control` says so, and when a token names a key that is not known.
//!
//! Invariants: keys that work stay in force until there are others, so that an issuer that is down locks nobody out;
//! because of unknown keys a URL is asked at most once in [`ONCE_IN`]; nothing is written before the state directory is
//! ours.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_token::{
    KeyError, KeySetOrigin, KeySource, ReadKeys, TokenKey, parse_key_set, without_byte_order_mark,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::key_set_copy;
use super::key_set_url::{Answer, KeySetUrl};

/// How often tokens with unknown keys lead to a look at most.
const ONCE_IN: Duration = Duration::from_secs(60);
/// How long after a look that failed comes the next.
const RETRY: Duration = Duration::from_secs(60);

/// All sets.
pub(crate) struct KeySets {
    sets: Vec<KeySet>,
    /// The state directory, where there is one.
    directory: Option<PathBuf>,
    rounds: Mutex<Rounds>,
    /// A round is wanted.
    wake: Notify,
    /// The number of the last round that is done.
    done: watch::Sender<u64>,
}

/// What leads to looks out of turn.
#[derive(Default)]
struct Rounds {
    /// How many have begun.
    begun: u64,
    /// All sets are to be looked at, now.
    wanted: bool,
    /// When an unknown key last led to a round, and to which.
    asked: Option<(Instant, u64)>,
    /// There was an unknown key since then: there is to be another round as soon as there may be.
    asked_again: bool,
}

struct KeySet {
    source: RwLock<KeySetUrl>,
    in_force: RwLock<Arc<[TokenKey]>>,
    known: Mutex<Known>,
}

/// What the task knows of a set.
struct Known {
    /// What the keys in force were read from.
    text: String,
    /// Whether that is on the disk.
    kept: bool,
    /// When to look again.
    due: Instant,
    /// What was last said in the log, so that it is said once.
    trouble: Option<String>,
    skipped: Vec<String>,
}

impl KeySets {
    /// No URLs.
    #[cfg(any(test, fuzzing, feature = "bench"))]
    pub(crate) fn none() -> Arc<Self> {
        Self::new(Vec::new(), None)
    }

    fn new(sets: Vec<KeySet>, directory: Option<PathBuf>) -> Arc<Self> {
        let (done, _) = watch::channel(0);
        Arc::new(Self { sets, directory, rounds: Mutex::default(), wake: Notify::new(), done })
    }

    /// Fetches all sets; one whose URL gives none comes from the copy in the state directory. Writes nothing.
    ///
    /// # Errors
    /// When there is neither.
    pub(crate) async fn open(urls: &[KeySetUrl], directory: Option<&Path>) -> Result<Arc<Self>, KeyError> {
        let mut looks = JoinSet::new();
        for (number, url) in urls.iter().cloned().enumerate() {
            let directory = directory.map(Path::to_owned);
            looks.spawn(async move { (number, KeySet::open(url, directory.as_deref()).await) });
        }
        let mut sets = Vec::new();
        for (number, set) in looks.join_all().await {
            sets.push((number, set?));
        }
        sets.sort_by_key(|(number, _)| *number);
        Ok(Self::new(sets.into_iter().map(|(_, set)| set).collect(), directory.map(Path::to_owned)))
    }

    /// Has the sets fetched because of a key that is not known. What it gives ends when they are; `None` where they
    /// have been fetched for that reason just before, and will be again in a while.
    pub(super) fn look_for_unknown(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        if self.sets.is_empty() {
            return None;
        }
        let round = self.rounds.lock().ask(*self.done.borrow(), Instant::now());
        self.wake.notify_one();
        let round = round?;
        let mut done = self.done.subscribe();
        Some(async move {
            // The sender is as old as the server.
            let _ = done.wait_for(|done| *done >= round).await;
        })
    }

    /// Looks at all of them, now. `urls` are the same as at the start, but may trust others.
    pub(super) fn reload(&self, urls: &[KeySetUrl]) {
        for (set, url) in self.sets.iter().zip(urls) {
            *set.source.write() = url.clone();
        }
        self.rounds.lock().wanted = true;
        self.wake.notify_one();
    }

    /// Keeps them fresh, until `closing`.
    pub(crate) async fn run(self: Arc<Self>, closing: CancellationToken) {
        if self.sets.is_empty() {
            return;
        }
        for set in &self.sets {
            set.keep(self.directory.as_deref()).await;
        }
        loop {
            tokio::select! {
                () = closing.cancelled() => return,
                () = sleep_until(self.next()) => {}
                () = self.wake.notified() => {}
            }
            let Some((round, due)) = self.begin() else { continue };
            let mut looks = JoinSet::new();
            for number in due {
                let sets = Arc::clone(&self);
                looks.spawn(async move {
                    if let Some(set) = sets.sets.get(number) {
                        set.look(sets.directory.as_deref()).await;
                    }
                });
            }
            tokio::select! {
                () = closing.cancelled() => return looks.shutdown().await,
                () = async { while looks.join_next().await.is_some() {} } => {}
            }
            self.done.send_replace(round);
        }
    }

    /// When the next round is due, if nothing comes in between.
    fn next(&self) -> Instant {
        let rounds = self.rounds.lock();
        let due = self.sets.iter().map(|set| set.known.lock().due).chain(rounds.again()).min();
        due.unwrap_or_else(|| Instant::now() + RETRY)
    }

    /// Begins a round: gives its number and whom to look at, if there is anybody.
    fn begin(&self) -> Option<(u64, Vec<usize>)> {
        let now = Instant::now();
        let mut rounds = self.rounds.lock();
        let all = rounds.are_wanted(now);
        let due = |set: &KeySet| all || set.known.lock().due <= now;
        let due: Vec<usize> =
            self.sets.iter().enumerate().filter(|(_, set)| due(set)).map(|(number, _)| number).collect();
        if due.is_empty() { None } else { Some((rounds.begin(now), due)) }
    }
}

impl KeySource for KeySets {
    fn in_force(&self) -> Vec<Arc<[TokenKey]>> {
        self.sets.iter().map(|set| Arc::clone(&set.in_force.read())).collect()
    }
}

impl Rounds {
    /// Somebody came with an unknown key. Gives the round to wait for; where there is none to come soon, there will be
    /// one in its time.
    fn ask(&mut self, done: u64, now: Instant) -> Option<u64> {
        match self.asked {
            Some((at, round)) if now < at + ONCE_IN => {
                if done < round {
                    return Some(round);
                }
                self.asked_again = true;
                None
            }
            _ => {
                // The next one, and not one that is under way: its answers may be older than the key.
                let round = self.begun + 1;
                self.asked = Some((now, round));
                self.wanted = true;
                Some(round)
            }
        }
    }

    /// When unknown keys have waited long enough.
    fn again(&self) -> Option<Instant> {
        self.asked.filter(|_| self.asked_again).map(|(at, _)| at + ONCE_IN)
    }

    fn are_wanted(&self, now: Instant) -> bool {
        self.wanted || self.again().is_some_and(|at| at <= now)
    }

    fn begin(&mut self, now: Instant) -> u64 {
        self.begun += 1;
        if self.again().is_some_and(|at| at <= now) {
            self.asked = Some((now, self.begun));
            self.asked_again = false;
        }
        if std::mem::take(&mut self.wanted) {
            self.asked_again = false;
        }
        self.begun
    }
}

impl KeySet {
    async fn open(url: KeySetUrl, directory: Option<&Path>) -> Result<Self, KeyError> {
        let fetched = match url.fetch().await {
            Ok(answer) => read(answer),
            Err(problem) => Err(problem),
        };
        let shown = url.shown();
        let (text, ReadKeys { keys, skipped }, due, trouble) = match fetched {
            Ok((text, read, good)) => {
                tracing::info!(url = shown, keys = read.keys.len(), "token keys fetched");
                (text, read, good, None)
            }
            Err(problem) => match key_set_copy::last(&url, directory).await {
                Ok((text, read)) => {
                    tracing::warn!(
                        url = shown,
                        problem,
                        "the token keys cannot be fetched; those of the last time are used"
                    );
                    (text, read, RETRY, Some(problem))
                }
                Err(copy) => {
                    return Err(KeyError::Url { url: shown, problem: format!("{problem}; {copy}") });
                }
            },
        };
        tell_of_skipped(&shown, &skipped);
        // A copy that was read needs not be written.
        let kept = trouble.is_some();
        let known = Known { text, kept, due: Instant::now() + due, trouble, skipped };
        Ok(Self { source: RwLock::new(url), in_force: RwLock::new(keys.into()), known: Mutex::new(known) })
    }

    /// Looks once, and takes what comes.
    async fn look(&self, directory: Option<&Path>) {
        let source = self.source.read().clone();
        let fetched = source.fetch().await.and_then(read);
        let shown = source.shown();
        {
            let mut known = self.known.lock();
            match fetched {
                Ok((text, ReadKeys { keys, skipped }, good)) => {
                    known.due = Instant::now() + good;
                    if known.trouble.take().is_some() {
                        tracing::info!(url = shown, "the token keys can be fetched again");
                    }
                    if known.skipped != skipped {
                        tell_of_skipped(&shown, &skipped);
                        known.skipped = skipped;
                    }
                    if known.text != text {
                        tracing::info!(url = shown, keys = keys.len(), "other token keys fetched");
                        *self.in_force.write() = keys.into();
                        known.text = text;
                        known.kept = false;
                    }
                }
                Err(problem) => {
                    known.due = Instant::now() + RETRY;
                    if known.trouble.as_ref() != Some(&problem) {
                        tracing::warn!(
                            url = shown,
                            problem,
                            "the token keys cannot be fetched; the old ones stay in use"
                        );
                        known.trouble = Some(problem);
                    }
                }
            }
        }
        self.keep(directory).await;
    }

    /// Writes what is in force to the disk, where it is not there yet.
    async fn keep(&self, directory: Option<&Path>) {
        let Some(directory) = directory else { return };
        let text = {
            let known = self.known.lock();
            if known.kept { None } else { Some(known.text.clone()) }
        };
        let Some(text) = text else { return };
        let source = self.source.read().clone();
        let path = key_set_copy::place(&source, directory);
        match key_set_copy::write(source, text, path.clone()).await {
            Ok(()) => self.known.lock().kept = true,
            // It is tried again at the next look.
            Err(error) => tracing::warn!(
                path = %path.display(), %error,
                "the token keys cannot be kept on the disk: without the network the next start would have none"
            ),
        }
    }
}

/// The keys of an answer, with the text that they are from and for how long they are good.
fn read(Answer { text, good }: Answer) -> Result<(String, ReadKeys, Duration), String> {
    let text = without_byte_order_mark(&text).to_owned();
    let keys = parse_key_set(&text, KeySetOrigin::Url)?;
    Ok((text, keys, good))
}

fn tell_of_skipped(url: &str, skipped: &[String]) {
    for key in skipped {
        tracing::warn!(url, key, "a token key was passed over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_lead_to_one_round_a_minute_and_to_another_when_it_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rounds = Rounds::default();
        assert!(!rounds.are_wanted(at(0)));
        // Two at once wait for the same.
        assert_eq!((rounds.ask(0, at(0)), rounds.ask(0, at(0))), (Some(1), Some(1)));
        assert!(rounds.are_wanted(at(0)));
        assert_eq!(rounds.begin(at(0)), 1);
        assert_eq!(rounds.ask(0, at(1)), Some(1), "it is under way");
        assert!(!rounds.are_wanted(at(1)));
        // It is done.
        for second in 2..60 {
            assert_eq!(rounds.ask(1, at(second)), None);
            assert!(!rounds.are_wanted(at(second)), "{second}");
        }
        assert_eq!(rounds.again(), Some(at(60)));
        assert!(rounds.are_wanted(at(60)));
        assert_eq!(rounds.begin(at(60)), 2);
        assert_eq!(rounds.ask(2, at(61)), None, "that one counted");
        assert!(!rounds.are_wanted(at(119)) && rounds.are_wanted(at(120)));
        assert_eq!(rounds.begin(at(120)), 3);
        // Long after, there is one at once; one that is under way by the clock does not count.
        assert_eq!(rounds.begin(at(500)), 4);
        assert_eq!(rounds.ask(3, at(500)), Some(5));
        assert_eq!(rounds.begin(at(501)), 5);
        assert_eq!(rounds.ask(5, at(502)), None);
    }

    #[test]
    fn a_look_that_was_wanted_for_another_reason_is_good_for_unknown_keys_too() {
        let start = Instant::now();
        let mut rounds = Rounds { wanted: true, asked: Some((start, 1)), begun: 1, asked_again: true };
        assert_eq!(rounds.begin(start), 2);
        assert_eq!(rounds.again(), None);
    }
}
