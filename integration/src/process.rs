//! One process of a test: signalled by its pid, killed when dropped.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::watch,
    time::timeout,
};

use crate::PATIENCE;

/// A running process.
pub struct Process {
    child: Child,
    pid: Pid,
    lines: Lines<BufReader<ChildStdout>>,
    said: watch::Receiver<String>,
}

impl Process {
    /// Starts a process; what it prints on standard output is read line by line, and what
    /// it says on standard error is kept, and passed on.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let stdout = child.stdout.take().expect("standard output was piped");
        let stderr = child.stderr.take().expect("standard error was piped");
        let (sender, said) = watch::channel(String::new());
        tokio::spawn(keep(stderr, sender));
        Self {
            said,
            pid: pid.expect("a process that was just started has a pid"),
            lines: BufReader::new(stdout).lines(),
            child,
        }
    }

    /// Its next line; `None` once it has closed its standard output.
    ///
    /// # Panics
    ///
    /// If none comes within [`PATIENCE`].
    pub async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("a process of the test prints a line in time")
            .expect("standard output is UTF-8")
    }

    /// What it has said on standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.borrow().clone()
    }

    /// Waits until it says something on standard error, and gives all that it has said.
    ///
    /// # Panics
    ///
    /// If it does not within [`PATIENCE`].
    pub async fn says(&self, words: &str) -> String {
        let mut said = self.said.clone();
        let heard = timeout(PATIENCE, said.wait_for(|said| said.contains(words))).await;
        match heard {
            Ok(Ok(said)) => said.clone(),
            _ => panic!("{words:?} was not said, but:\n{}", self.said()),
        }
    }

    /// Waits for its end, and gives all that it has said on standard error.
    ///
    /// # Panics
    ///
    /// If it does not end within [`PATIENCE`].
    pub async fn last_words(&mut self) -> (ExitStatus, String) {
        let status = self.ended().await;
        // Changes until its standard error is closed.
        while self.said.changed().await.is_ok() {}
        (status, self.said())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// If it is gone already.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the process has not been waited for yet");
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it does not end within [`PATIENCE`].
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("a process of the test ends in time")
            .expect("a child process can be waited for")
    }

    /// Whether it has ended.
    ///
    /// # Panics
    ///
    /// If the system does not tell.
    pub fn has_ended(&mut self) -> bool {
        let status = self.child.try_wait();
        status.expect("a child process can be waited for").is_some()
    }

    /// SIGKILL, and its end.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Has every write to a file fail that would make one larger than so many bytes, as a
    /// disk may that was writable when the file was opened; `None` for no limit.
    ///
    /// # Panics
    ///
    /// If the system does not allow it.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(self.pid), Resource::Fsize, limit).expect("a child's limits can be set");
    }

    /// Has it open no more than so many files and sockets; those that are open stay.
    ///
    /// # Panics
    ///
    /// If the system does not allow it.
    pub fn limit_open_files(&self, most: u64) {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        prlimit(Some(self.pid), Resource::Nofile, limit).expect("a child's limits can be set");
    }

    /// Its open files and sockets.
    ///
    /// # Panics
    ///
    /// If it is gone.
    #[must_use]
    pub fn open_files(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        files.expect("the process is still there").count()
    }

    /// Memory that it holds, in bytes (`VmRSS` of proc(5)).
    ///
    /// # Panics
    ///
    /// If it is gone.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Most memory that it has held so far, or since [`forget_peak`](Self::forget_peak), in
    /// bytes (`VmHWM` of proc(5)).
    ///
    /// # Panics
    ///
    /// If it is gone.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Lets its peak of memory begin anew.
    ///
    /// # Panics
    ///
    /// If it is gone, or is another user's.
    pub fn forget_peak(&self) {
        let written = fs::write(format!("/proc/{}/clear_refs", self.pid()), "5");
        written.expect("a process's peak can be cleared by who started it");
    }

    /// Processor time that it has had (`utime` and `stime` of proc(5)).
    ///
    /// # Panics
    ///
    /// If it is gone.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        times(&self.pid().to_string(), OWN)
    }

    /// The same with what those have had that it has started and that still run, as the workers
    /// of nginx.
    ///
    /// # Panics
    ///
    /// If it or one of those is gone.
    #[must_use]
    pub fn processor_time_with_workers(&self) -> Duration {
        with_workers(&self.pid().to_string())
    }

    /// Processor time of the processes that this one has started and waited for (`cutime` and
    /// `cstime` of proc(5)).
    ///
    /// # Panics
    ///
    /// If the system does not tell.
    #[must_use]
    pub fn processor_time_of_ended() -> Duration {
        times("self", WAITED_FOR)
    }

    /// Processor time of its threads, together where they have the same name (`/proc/PID/task/TID/schedstat`,
    /// in nanoseconds). Of threads that have ended it has nothing.
    ///
    /// # Panics
    ///
    /// If it is gone.
    #[must_use]
    pub fn processor_times(&self) -> BTreeMap<String, Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid()));
        let threads = threads.expect("the process is still there").flatten();
        let mut times = BTreeMap::new();
        for thread in threads {
            // One may end meanwhile.
            let read = |file| fs::read_to_string(thread.path().join(file)).ok();
            let (Some(name), Some(times_of)) = (read("comm"), read("schedstat")) else {
                continue;
            };
            let nanos = times_of.split(' ').next().and_then(|it| it.parse().ok());
            let sum: &mut Duration = times.entry(name.trim_end().to_owned()).or_default();
            *sum += Duration::from_nanos(nanos.unwrap_or(0));
        }
        times
    }

    /// Whether each of its threads has stopped after `SIGSTOP`, which they do one by one.
    ///
    /// # Panics
    ///
    /// If it is gone.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid()));
        let mut threads = threads.expect("the process is still there").flatten();
        threads.all(|thread| {
            // The name may hold anything; what follows its end begins with the state.
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// The ports of its UDP sockets.
    #[must_use]
    pub fn udp_ports(&self) -> Vec<u16> {
        udp_ports(self.pid())
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process is still there");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("every process that runs has memory") * 1024
    }
}

/// Which fields of proc(5)'s `stat` to read, counted from the one that follows the name: `utime` and
/// `stime`, or `cutime` and `cstime`.
const OWN: usize = 11;
const WAITED_FOR: usize = 13;

/// The sum of two processor times of a process.
fn times(pid: &str, first: usize) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    let stat = stat.expect("the process is still there");
    // The name may hold anything; what follows its end begins with the third field.
    let (_, fields) = stat
        .rsplit_once(") ")
        .expect("a name stands in parentheses");
    let times = fields.split(' ').skip(first).take(2);
    let ticks: u64 = times.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32
}

fn with_workers(pid: &str) -> Duration {
    let workers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let workers = workers.expect("the process is still there");
    let workers = workers.split_whitespace().map(with_workers);
    times(pid, OWN) + workers.sum::<Duration>()
}

/// The ports of a process's UDP sockets over IPv4, as proc(5) tells.
pub(crate) fn udp_ports(pid: u32) -> Vec<u16> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = files.into_iter().flatten().flatten();
    let links: HashSet<PathBuf> = links
        .filter_map(|file| fs::read_link(file.path()).ok())
        .collect();
    let sockets = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    // Address and port in hexadecimal, and the inode; see proc_net_udp in the kernel.
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        let link = PathBuf::from(format!("socket:[{}]", fields.get(9)?));
        links
            .contains(&link)
            .then(|| u16::from_str_radix(port, 16).ok())?
    };
    sockets.lines().skip(1).filter_map(port).collect()
}

/// Keeps what a process says, and passes it on to whoever reads the test's own output.
async fn keep(stderr: ChildStderr, said: watch::Sender<String>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        said.send_modify(|said| {
            said.push_str(&line);
            said.push('\n');
        });
    }
}
