//! A terminal of a given size that a program runs in: keys go in, what a person would see comes out. It
//! is tmux, with a server of its own that ends with the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as StdCommand, Output},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{PATIENCE, Process, until};

/// Between two looks at the screen.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs a program as a shell would that is typed into, and notes how the terminal was before and after.
const RUN: &str = r#"
    folder=$1; shift
    stty -g > "$folder/before"
    echo before
    sh -c 'echo $$ > "$0"; exec "$@"' "$folder/pid" "$@"
    echo $? > "$folder/code.new"
    stty -g > "$folder/after"
    mv "$folder/code.new" "$folder/code"
    echo after
    exec cat
"#;

/// A terminal, and the program that runs in it.
pub struct Terminal {
    folder: TempDir,
    // Killed when dropped; who runs in its terminal is then told that it is gone.
    _server: Process,
}

/// How a program left the terminal that it ran in.
#[derive(PartialEq, Eq, Debug)]
pub struct Left {
    /// Its exit code, as a shell has it.
    pub code: i32,
    /// All modes are those of before.
    pub has_modes_of_before: bool,
    /// What is shown is what was before, and what came after.
    pub shows_what_was_before: bool,
    /// The cursor is to be seen.
    pub has_cursor: bool,
}

impl Terminal {
    /// Runs a program in a terminal of so many columns and rows.
    ///
    /// # Panics
    ///
    /// If tmux does not start.
    pub async fn run(command: &Command, columns: u16, rows: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut server = Command::new("tmux");
        server.args(arguments(folder.path())).arg("-D");
        for (name, value) in command.as_std().get_envs() {
            match value {
                Some(value) => server.env(name, value),
                None => server.env_remove(name),
            };
        }
        server.env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        let terminal = Self {
            _server: Process::start(&mut server),
            folder,
        };
        let socket = terminal.folder.path().join("socket");
        until("tmux to serve", async || socket.exists().then_some(())).await;
        let mut run = terminal.tmux();
        run.args(["new-session", "-d"])
            .args(sized(columns, rows))
            .args(["--", "sh", "-c"]);
        run.args([RUN, "sh"]).arg(terminal.folder.path());
        run.arg(command.as_std().get_program());
        said(run.args(command.as_std().get_args()));
        terminal
    }

    /// Presses keys: names as tmux has them, such as `Enter`, `Escape` and `C-c`, or text.
    pub fn press(&self, keys: &[&str]) {
        said(self.tmux().args(["send-keys", "--"]).args(keys));
    }

    /// Has it so many columns and rows.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = sized(columns, rows);
        said(self.tmux().arg("resize-window").args(size));
    }

    /// What is to be seen, line by line.
    #[must_use]
    pub fn screen(&self) -> Vec<String> {
        let screen = said(self.tmux().args(["capture-pane", "-p"]));
        screen.lines().map(str::to_owned).collect()
    }

    /// The same with what sets colours, and with spaces at the ends of lines.
    #[must_use]
    pub fn colored_screen(&self) -> String {
        said(self.tmux().args(["capture-pane", "-p", "-e", "-N"]))
    }

    /// Waits until what is to be seen gives something.
    ///
    /// # Panics
    ///
    /// If it does not in time, with what was seen last.
    pub async fn shows<T>(
        &self,
        what: &str,
        mut condition: impl FnMut(&[String]) -> Option<T>,
    ) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if let Some(value) = condition(&screen) {
                return value;
            }
            let is_late = Instant::now() > end;
            assert!(!is_late, "waited for {what} of\n{}", screen.join("\n"));
            sleep(PAUSE).await;
        }
    }

    /// Waits until a line contains a text.
    pub async fn says(&self, text: &str) -> String {
        let line = |screen: &[String]| screen.iter().find(|line| line.contains(text)).cloned();
        self.shows(text, line).await
    }

    /// Waits until no line contains a text.
    pub async fn says_no_more(&self, text: &str) {
        self.shows(&format!("no {text}"), |screen| {
            let is_there = screen.iter().any(|line| line.contains(text));
            (!is_there).then_some(())
        })
        .await;
    }

    /// Sends the program a signal.
    ///
    /// # Panics
    ///
    /// If it has not begun, or has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = self.read("pid").and_then(|pid| pid.parse().ok());
        let pid = pid.and_then(Pid::from_raw).expect("the program has begun");
        kill_process(pid, signal).expect("the program runs");
    }

    /// Waits for the program's end: how it left the terminal.
    ///
    /// # Panics
    ///
    /// If it does not end in time.
    pub async fn left(&self) -> Left {
        let code = until("the program to end", async || self.read("code")).await;
        self.says("after").await;
        let screen = self.screen();
        let shown: Vec<_> = screen.iter().filter(|line| !line.is_empty()).collect();
        let format = "#{alternate_on} #{cursor_flag}";
        let flags = said(self.tmux().args(["display-message", "-p", format]));
        let is_alternate = flags.starts_with('1');
        Left {
            code: code.parse().expect("an exit code is a number"),
            has_modes_of_before: self.read("before") == self.read("after"),
            shows_what_was_before: !is_alternate
                && shown.first().is_some_and(|line| *line == "before"),
            has_cursor: flags.trim_end().ends_with('1'),
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        let path: PathBuf = self.folder.path().join(name);
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim_end().to_owned())
    }

    fn tmux(&self) -> StdCommand {
        let mut tmux = StdCommand::new("tmux");
        tmux.args(arguments(self.folder.path()));
        tmux.env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        tmux
    }
}

fn arguments(folder: &Path) -> [std::ffi::OsString; 5] {
    let socket = folder.join("socket");
    let words = ["-u", "-f", "/dev/null", "-S"].map(Into::into);
    let [utf8, flag, file, server] = words;
    [utf8, flag, file, server, socket.into()]
}

fn sized(columns: u16, rows: u16) -> [String; 2] {
    [("-x", columns), ("-y", rows)].map(|(flag, size)| format!("{flag}{size}"))
}

fn said(command: &mut StdCommand) -> String {
    let output = command.output().expect("tmux runs");
    let Output { status, stderr, .. } = &output;
    let error = String::from_utf8_lossy(stderr);
    assert!(status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).expect("a terminal shows text")
}
