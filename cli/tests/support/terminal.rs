//! A real terminal to run a command in, by way of tmux: what is typed, what is on the screen, and the terminal's mode
//! before and after.
//!
//! In: a shell script that runs in the terminal, and keys. Out: the screen as a person sees it. Each terminal has a
//! tmux server of its own, which ends with it.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{BINARY, Ended, Server, finish, seen, without_our_variables};

pub(crate) struct Terminal {
    place: TempDir,
}

impl Terminal {
    /// Opens a terminal and runs `fanfare` in it with these arguments, as a client of `server`. The terminal's mode
    /// is kept before and after, and the screen says `finished` and the exit code at the end.
    pub(crate) fn open(server: &Server, arguments: &str) -> Self {
        Self::open_with(server, "", arguments)
    }

    /// The same, with a variable set, or something done, before the command.
    pub(crate) fn open_with(server: &Server, before: &str, arguments: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        // Without it the screen is gone as soon as the script ends.
        fs::write(place.path().join("tmux.conf"), "set -g remain-on-exit on\n").unwrap();
        // The empty line is for tmux, which scrolls the first one away when it says that the pane is dead.
        // A key that interrupts the command shall not end the shell, too.
        let script = format!(
            "trap : INT QUIT; stty -g > before; {before} '{BINARY}' {arguments}; code=$?; stty -g > after; \
             echo; echo finished $code; tmux wait-for -S finished"
        );
        let terminal = Self { place };
        let mut command = terminal.tmux(&["new-session", "-d", "-x", "100", "-y", "30", &script]);
        command.env("FANFARE_SERVER", &server.address).env("FANFARE_STATE_DIR", server.state());
        command.env("FANFARE_ADMIN", &server.admin);
        // Otherwise it is the shell of whoever runs the tests.
        command.env("SHELL", "/bin/sh");
        let opened = finish(&mut command, b"");
        assert_eq!(opened.code, Some(0), "{opened:?}");
        terminal
    }

    /// Types text as it is.
    pub(crate) fn types(&self, text: &str) {
        self.run(&["send-keys", "-l", text]).printed();
    }

    /// Pastes text, as a terminal does that marks what is pasted where the program asks for that.
    pub(crate) fn pastes(&self, text: &str) {
        self.run(&["set-buffer", "-b", "pasted", text]).printed();
        // Line ends become CR, as every terminal sends them.
        self.run(&["paste-buffer", "-p", "-b", "pasted"]).printed();
    }

    /// Types a line, its end and what is behind it at once, as a fast typist on a slow machine does.
    pub(crate) fn types_ahead(&self, line: &str, behind: &str) {
        self.run(&["send-keys", line, "Enter", behind]).printed();
    }

    /// Presses a key, by tmux's name for it: `Enter`, `C-c`.
    pub(crate) fn press(&self, key: &str) {
        self.run(&["send-keys", key]).printed();
    }

    /// Presses the key that confirms, until the screen says that it was taken: it counts only where nothing comes just
    /// before it or behind it, as from a person's fingers.
    #[track_caller]
    pub(crate) fn confirms(&self, what: &str, expected: impl Fn(&[&str]) -> bool) -> String {
        let mut pressed: Option<Instant> = None;
        seen(what, || {
            if pressed.is_none_or(|pressed| pressed.elapsed() > Duration::from_millis(700)) {
                self.press("F2");
                pressed = Some(Instant::now());
            }
            let screen = self.run(&["capture-pane", "-p"]).out;
            let screen = screen.trim_end().to_owned();
            let lines: Vec<&str> = screen.lines().collect();
            if expected(&lines) { Ok(screen) } else { Err(screen) }
        })
    }

    /// Sends bytes as they are, in hex: what no keyboard sends.
    pub(crate) fn sends_bytes(&self, hex: &str) {
        let mut arguments = vec!["send-keys", "-H"];
        arguments.extend(hex.split(' '));
        self.run(&arguments).printed();
    }

    /// The process of the command that runs in it: of our binary, and in this terminal's directory.
    pub(crate) fn process(&self) -> rustix::process::Pid {
        let binary = fs::canonicalize(BINARY).unwrap();
        let place = fs::canonicalize(self.place.path()).unwrap();
        let is_it = |process: &std::path::Path| {
            let leads_to = |name: &str, to: &std::path::Path| {
                fs::read_link(process.join(name)).is_ok_and(|path| path == to)
            };
            leads_to("exe", &binary) && leads_to("cwd", &place)
        };
        let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let process = all
            .filter(|process| is_it(process))
            .find_map(|process| process.file_name()?.to_str()?.parse().ok());
        rustix::process::Pid::from_raw(process.expect("no command runs in the terminal")).unwrap()
    }

    /// Gives the terminal another size.
    pub(crate) fn resizes(&self, columns: u16, rows: u16) {
        self.run(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]).printed();
    }

    /// Waits until the screen is as `expected` says, and gives its lines.
    #[track_caller]
    pub(crate) fn shows(&self, what: &str, expected: impl Fn(&[&str]) -> bool) -> String {
        seen(what, || {
            let screen = self.run(&["capture-pane", "-p"]).out;
            let screen = screen.trim_end().to_owned();
            let lines: Vec<&str> = screen.lines().collect();
            if expected(&lines) { Ok(screen) } else { Err(screen) }
        })
    }

    /// Waits until the screen has these lines, in this order.
    #[track_caller]
    pub(crate) fn shows_lines(&self, expected: &[&str]) {
        self.shows(&format!("{expected:?}"), |lines| {
            let mut lines = lines.iter();
            expected.iter().all(|expected| lines.any(|line| line == expected))
        });
    }

    /// Waits for the end of the command, and checks that the terminal's mode is what it was. Gives the exit code and
    /// the screen.
    #[track_caller]
    pub(crate) fn finished(self) -> (i32, String) {
        let screen = self.shows("the end", |lines| lines.iter().any(|line| line.starts_with("finished ")));
        let mode = |name: &str| fs::read_to_string(self.place.path().join(name)).unwrap();
        assert_eq!(mode("before"), mode("after"), "the terminal's mode is not what it was");
        assert!(mode("before").contains(':'), "stty said its mode");
        let code = screen.lines().find_map(|line| line.strip_prefix("finished ")).unwrap();
        (code.parse().unwrap(), screen)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        finish(&mut self.tmux(arguments), b"")
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        // finish() would say no more than that there is no such file.
        let there = Command::new("tmux").arg("-V").output();
        if there.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            panic!("this test types into a terminal, for which it needs tmux: apt-get install tmux");
        }
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.place.path().join("socket")).args(["-f", "tmux.conf"]).args(arguments);
        command.current_dir(self.place.path());
        without_our_variables(&mut command);
        // It may itself be run in a tmux, or in nothing that is a terminal.
        command.env_remove("TMUX").env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // With everything that runs in it. Fails only where nothing was opened.
        let _ = self.tmux(&["kill-server"]).output();
    }
}
