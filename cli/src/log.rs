//! The server's log on stderr: written by a thread of its own, so that neither a full disk, nor a reader that has gone,
//! nor one that does not read can hold up or end what the lines are about.
//!
//! In: lines. Out: the same on stderr, in their order; those for which there was no room, or which could not be
//! written, are counted, and a line says how many as soon as one can be written again. Invariants: writing a line never
//! waits and never fails; what waits is bounded in bytes; half a line is never followed by another on the same line.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// What may wait to be written, in bytes: seconds of a talkative log.
const WAITING_BYTES: usize = 8 << 20;
/// How long the end of the process waits for lines to be read.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long it is before it is tried again to say that lines were lost, where none comes meanwhile.
const SAY_AGAIN: Duration = Duration::from_secs(1);
/// How long it is before a stderr that takes nothing at the moment, but does not let us wait for it, is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Where lines go. Dropped, it waits a moment for the last of them.
pub(crate) struct Log {
    queue: Arc<Queue>,
}

/// The subscriber's side of it.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to write.
    more: Condvar,
    /// Everything is written.
    empty: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines for which there was no room.
    dropped: u64,
    /// Whether the thread has something in its hands.
    writing: bool,
}

impl Log {
    /// Starts the thread that writes to `out`. `json` is how the lines are written, and so the one about lost ones.
    pub(crate) fn start(out: impl Write + Send + 'static, json: bool) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer =
            Scribe { queue: Arc::clone(&queue), out, json, lost: 0, reason: String::new(), in_line: false };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { queue })
    }

    pub(crate) fn lines(&self) -> Lines {
        Lines(Arc::clone(&self.queue))
    }

    /// Waits until everything is written, but no longer than a moment.
    pub(crate) fn flush(&self) {
        let deadline = Instant::now() + LAST_LINES;
        let mut state = self.queue.lock();
        while state.writing || !state.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.queue.empty.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in here would have left a whole line or none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.bytes + line.len() > WAITING_BYTES {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_owned());
        drop(state);
        self.more.notify_one();
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: &self.0, bytes: Vec::new() }
    }
}

/// A line, which is handed on as a whole.
pub(crate) struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queue.push(&self.bytes);
        }
    }
}

/// The thread that writes.
struct Scribe<W> {
    queue: Arc<Queue>,
    out: W,
    json: bool,
    /// Lines that were lost since the last time that this was said, and why the last of them was.
    lost: u64,
    reason: String,
    /// Whether a line was broken off in the middle.
    in_line: bool,
}

impl<W: Write> Scribe<W> {
    fn run(mut self) {
        loop {
            let (line, dropped) = self.next();
            if dropped > 0 {
                self.lost += dropped;
                "they came faster than they were read".clone_into(&mut self.reason);
            }
            if self.lost > 0 {
                let notice = self.notice();
                if self.write(notice.as_bytes()).is_ok() {
                    self.lost = 0;
                }
            }
            if !line.is_empty()
                && let Err(error) = self.write(&line)
            {
                self.lost += 1;
                self.reason = error.to_string();
            }
        }
    }

    /// Waits for a line. Also gives how many there was no room for before. While it is still to be said that some were
    /// lost, that is tried again after a while, without a line.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut state = self.queue.lock();
        state.writing = false;
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return (line, std::mem::take(&mut state.dropped));
            }
            self.queue.empty.notify_all();
            if self.lost == 0 {
                state = self.queue.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (waited, timed_out) =
                self.queue.more.wait_timeout(state, SAY_AGAIN).unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if timed_out.timed_out() && state.lines.is_empty() {
                state.writing = true;
                return (Vec::new(), std::mem::take(&mut state.dropped));
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.in_line {
            self.write_all(b"\n")?;
            self.in_line = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    self.in_line = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody who has the same file made it so. This thread has nothing else to do.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(TRY_AGAIN),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The line that says what was lost, as the subscriber would write it.
    fn notice(&self) -> String {
        let mut now = String::new();
        // Writing to a String does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut now));
        let Self { lost, reason, .. } = self;
        if self.json {
            let fields = json!({ "message": "log lines were lost", "lines": lost, "reason": reason });
            let notice =
                json!({ "timestamp": now, "level": "WARN", "fields": fields, "target": "fanfare::log" });
            return format!("{notice}\n");
        }
        format!("{now}  WARN log lines were lost lines={lost} reason={reason}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Does with each write as it is told, and keeps what it took.
    struct Told {
        orders: mpsc::Receiver<Result<usize, io::ErrorKind>>,
        took: Arc<Mutex<Vec<u8>>>,
        tried: mpsc::SyncSender<()>,
    }

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Full: it is known by then that it was tried.
            let _ = self.tried.try_send(());
            // With no more orders it takes everything.
            let most = self.orders.recv().unwrap_or(Ok(usize::MAX)).map_err(io::Error::from)?;
            let taken = bytes.len().min(most);
            self.took.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Kept = Arc<Mutex<Vec<u8>>>;
    type Orders = mpsc::SyncSender<Result<usize, io::ErrorKind>>;

    fn told(json: bool) -> (Log, Orders, mpsc::Receiver<()>, Kept) {
        let ((orders, ordered), (tried, trying)) = (mpsc::sync_channel(16), mpsc::sync_channel(16));
        let took = Arc::new(Mutex::new(Vec::new()));
        let out = Told { orders: ordered, took: Arc::clone(&took), tried };
        (Log::start(out, json).unwrap(), orders, trying, took)
    }

    fn text(took: &Kept) -> String {
        String::from_utf8(took.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_when_one_can() {
        for json in [false, true] {
            let (log, orders, _, took) = told(json);
            let lines = log.lines();
            for _ in 0..2 {
                orders.send(Err(io::ErrorKind::StorageFull)).unwrap();
            }
            // The second line first has the notice tried, which fails, and then itself.
            orders.send(Err(io::ErrorKind::StorageFull)).unwrap();
            // Half of the third notice goes out.
            orders.send(Ok(5)).unwrap();
            orders.send(Err(io::ErrorKind::StorageFull)).unwrap();
            orders.send(Err(io::ErrorKind::StorageFull)).unwrap();
            for line in ["one\n", "two\n", "three\n", "four\n"] {
                lines.make_writer().write_all(line.as_bytes()).unwrap();
            }
            drop(orders);
            drop(log);
            let text = text(&took);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3, "{text:?}");
            assert_eq!((lines[0].len(), lines[2]), (5, "four"));
            if json {
                let notice: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
                assert_eq!(notice["fields"]["lines"], 3, "{notice}");
                assert_eq!(notice["level"], "WARN");
            } else {
                assert!(lines[1].contains("WARN log lines were lost lines=3 reason="), "{text}");
            }
        }
    }

    #[test]
    fn that_lines_were_lost_is_told_when_it_can_be_also_where_none_comes() {
        let (log, orders, _, took) = told(false);
        // The line, and the notice that is tried without another line.
        orders.send(Err(io::ErrorKind::StorageFull)).unwrap();
        orders.send(Err(io::ErrorKind::StorageFull)).unwrap();
        log.lines().make_writer().write_all(b"one\n").unwrap();
        drop(orders);
        let begun = Instant::now();
        while !text(&took).contains("log lines were lost lines=1") {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", text(&took));
        }
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
        let (log, orders, trying, took) = told(false);
        let lines = log.lines();
        let line = [&[b'x'; 1_023][..], b"\n"].concat();
        lines.make_writer().write_all(&line).unwrap();
        // The thread has the first in its hands, and waits.
        trying.recv().unwrap();
        let room = WAITING_BYTES / line.len();
        for _ in 0..room + 7 {
            lines.make_writer().write_all(&line).unwrap();
        }
        drop(orders);
        drop(log);
        let text = text(&took);
        assert_eq!(text.lines().filter(|line| line.starts_with('x')).count(), room + 1);
        assert!(text.contains("log lines were lost lines=7 reason=they came faster"), "it was told");
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let (log, orders, trying, _) = told(false);
        log.lines().make_writer().write_all(b"x\n").unwrap();
        trying.recv().unwrap();
        let begun = Instant::now();
        drop(log);
        assert!(begun.elapsed() >= LAST_LINES);
        drop(orders);
    }

    #[test]
    fn a_stderr_that_does_not_wait_is_waited_for() {
        let (log, orders, _, took) = told(false);
        for order in [Err(io::ErrorKind::WouldBlock), Ok(1), Err(io::ErrorKind::Interrupted)] {
            orders.send(order).unwrap();
        }
        log.lines().make_writer().write_all(b"line\n").unwrap();
        drop(orders);
        drop(log);
        assert_eq!(text(&took), "line\n");
    }
}
