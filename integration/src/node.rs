//! A node as a process: the real `nanod` on its command line.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command as StdCommand, ExitStatus},
    sync::OnceLock,
    time::Duration,
};

use nano_client::{Client, Options};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{ANY, Authority, Http, Process, Scrape, ServiceBuilder, until};

/// The command of the real binary, without arguments. It is built first, so that no test
/// runs an older one, unless `NANOD_BIN` names it.
#[must_use]
pub fn nanod() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| match env::var_os("NANOD_BIN") {
        Some(path) => path.into(),
        None => {
            build(&["-p", "nanod", "--bin", "nanod"]);
            built("nanod")
        }
    });
    clean(binary)
}

/// The command of one of the library's examples, built first.
#[must_use]
pub fn example(name: &str) -> Command {
    build(&["-p", "nano-client", "--example", name]);
    clean(&built("examples").join(name))
}

/// What says for or against colours; a CI's log is shown with them, whatever the terminal.
const COLOUR_VARIABLES: [&str; 4] = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"];

/// A command that sees no settings of whoever runs the tests.
fn clean(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("NANO_") || text.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    for name in COLOUR_VARIABLES {
        command.env_remove(name);
    }
    command
}

fn build(what: &[&str]) {
    let mut cargo = StdCommand::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]).args(what);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "{what:?} does not build");
}

/// What cargo has built beside this program, be it a test in target/PROFILE/deps or a
/// binary in target/PROFILE.
pub(crate) fn built(name: &str) -> PathBuf {
    let program = env::current_exe().expect("a program knows its own file");
    let folder = program.parent().expect("a file lies in a folder");
    let profile = match folder.parent() {
        Some(profile) if folder.ends_with("deps") => profile,
        _ => folder,
    };
    profile.join(name)
}

/// How a node is to be started.
pub struct NodeBuilder {
    state: TempDir,
    http: String,
    quic: String,
    admin: String,
    threads: usize,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    authority: Option<Authority>,
    disk: Disk,
    lead: Option<Lead>,
}

/// From a command to one that runs it elsewhere.
type Lead = Box<dyn Fn(&Command) -> Command + Send + Sync>;

/// What the node's state is on.
enum Disk {
    /// What the temporary folders of this machine are on.
    Shared,
    /// A file system of so many bytes, which only the node sees.
    Own(u64),
    /// The shared one, of which the node may not write this folder.
    ReadOnly(PathBuf),
    /// The shared one, which takes so much longer each time until it holds what was written.
    Slow(Duration),
}

/// A running node.
pub struct Node {
    /// Its process.
    pub process: Process,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where QUIC listens.
    pub quic: SocketAddr,
    /// Where the admin listener is, if there is one.
    pub admin: Option<SocketAddr>,
    builder: NodeBuilder,
}

#[derive(Deserialize)]
struct Ready {
    http: SocketAddr,
    quic: SocketAddr,
    admin: Option<SocketAddr>,
}

impl NodeBuilder {
    /// A flag and its value.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: impl ToString) -> Self {
        self.arguments.push(flag.to_owned());
        self.arguments.push(value.to_string());
        self
    }

    /// An address for HTTP in place of one of loopback.
    #[must_use]
    pub fn http(mut self, address: &str) -> Self {
        address.clone_into(&mut self.http);
        self
    }

    /// An address for QUIC in place of one of loopback.
    #[must_use]
    pub fn quic(mut self, address: &str) -> Self {
        address.clone_into(&mut self.quic);
        self
    }

    /// An address for the admin listener in place of one of loopback, or `off`.
    #[must_use]
    pub fn admin(mut self, address: &str) -> Self {
        address.clone_into(&mut self.admin);
        self
    }

    /// So many data threads in place of two.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// An environment variable and its value.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// Gives it certificates that other nodes trust too.
    #[must_use]
    pub fn authority(mut self, authority: &Authority) -> Self {
        self.authority = Some(authority.clone());
        self.flag("--tls", authority.folder("node").display())
    }

    /// Gives it a file system of so many bytes for its state, which no other process sees.
    #[must_use]
    pub fn disk(mut self, bytes: u64) -> Self {
        self.disk = Disk::Own(bytes);
        self
    }

    /// Lets it read, but not write, a folder of its state, or all of it if `inside` is "".
    #[must_use]
    pub fn read_only(mut self, inside: &str) -> Self {
        self.disk = Disk::ReadOnly(self.state_folder().join(inside));
        self
    }

    /// Has its disk take longer until it holds what was written, by strace(1).
    #[must_use]
    pub fn slow_disk(mut self, by: Duration) -> Self {
        self.disk = Disk::Slow(by);
        self
    }

    /// Gives it a copy of another node's state, as a cloned machine has.
    ///
    /// # Panics
    ///
    /// If the system does not allow it.
    #[must_use]
    pub fn copy_of(self, other: &Node) -> Self {
        let copied = StdCommand::new("cp")
            .arg("-a")
            .args([other.state(), self.state_folder()])
            .status();
        assert!(copied.expect("cp runs").success());
        self
    }

    /// Runs it in another network, by a command that leads there.
    #[must_use]
    pub fn within(mut self, lead: impl Fn(&Command) -> Command + Send + Sync + 'static) -> Self {
        self.lead = Some(Box::new(lead));
        self
    }

    /// Starts it, and waits until it serves.
    ///
    /// # Panics
    ///
    /// If it does not come to serve.
    pub async fn start(self) -> Node {
        let ready_file = self.state.path().join("ready.json");
        if let Err(error) = fs::remove_file(&ready_file) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
        let mut process = self.process(&ready_file);
        let ready: Ready = until("the node to be ready", async || {
            assert!(!process.has_ended(), "the node ended before it was ready");
            let text = fs::read_to_string(&ready_file).ok()?;
            Some(serde_json::from_str(&text).expect("the ready file is whole"))
        })
        .await;
        Node {
            process,
            http: ready.http,
            quic: ready.quic,
            admin: ready.admin,
            builder: self,
        }
    }

    /// Starts it where it cannot serve: how it ended, and what it said.
    pub async fn refused(&self) -> (ExitStatus, String) {
        let ready_file = self.state.path().join("ready.json");
        self.process(&ready_file).last_words().await
    }

    fn process(&self, ready_file: &Path) -> Process {
        let mut command = self.command();
        command
            .args(["--http", &self.http, "--quic", &self.quic])
            .args(["--admin", &self.admin])
            .arg("--state")
            .arg(self.state_folder())
            .arg("--ready-file")
            .arg(ready_file)
            .args(["--threads", &self.threads.to_string()])
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        match &self.lead {
            Some(lead) => Process::start(&mut lead(&command)),
            None => Process::start(&mut command),
        }
    }

    /// The binary, or a shell that mounts what the node's state is on and becomes it. It
    /// leaves the node to hear of a file that is too large, see [`Process::limit_files`].
    fn command(&self) -> Command {
        let nanod = nanod();
        let (mount, size, place) = match &self.disk {
            Disk::Shared => return nanod,
            Disk::Slow(by) => return with_late_syncs(&nanod, *by),
            Disk::Own(bytes) => (
                r#"mount -t tmpfs -o "size=$0,mode=0700" none "$1""#,
                bytes.to_string(),
                self.state_folder(),
            ),
            Disk::ReadOnly(place) => (
                r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1""#,
                String::new(),
                place.clone(),
            ),
        };
        fs::create_dir_all(&place).expect("a folder can be made to mount on");
        let become_it = format!("trap '' XFSZ; {mount} && shift && exec \"$@\"");
        let mut command = clean(Path::new("unshare"));
        command
            .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
            .arg(become_it)
            .arg(size)
            .arg(place)
            .arg(nanod.as_std().get_program());
        command
    }

    fn state_folder(&self) -> PathBuf {
        self.state.path().join("state")
    }
}

/// A command that begins to wait for the disk only after some time. It stays the command's process, of which strace
/// is none's parent.
fn with_late_syncs(command: &Command, by: Duration) -> Command {
    const SYNCS: &str = "fsync,fdatasync,sync_file_range";
    let mut traced = clean(Path::new("strace"));
    traced
        .args([
            "--daemonize",
            "--follow-forks",
            "--seccomp-bpf",
            "--quiet=all",
        ])
        .args(["--output", "/dev/null", "--trace", SYNCS])
        .arg("--inject")
        .arg(format!("{SYNCS}:delay_enter={}us", by.as_micros()))
        .arg(command.as_std().get_program());
    traced
}

impl Node {
    /// A node with two data threads on free ports, with a state folder of its own.
    ///
    /// # Panics
    ///
    /// If the system has no place for temporary files.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder {
            state: tempfile::tempdir().expect("a temporary folder can be made"),
            http: ANY.to_owned(),
            quic: ANY.to_owned(),
            admin: ANY.to_owned(),
            threads: 2,
            arguments: Vec::new(),
            variables: Vec::new(),
            authority: None,
            disk: Disk::Shared,
            lead: None,
        }
    }

    /// Such a node, started.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Its state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        let folder = self.builder.state_folder();
        match self.builder.disk {
            // Mounted where only the node sees it; proc(5) shows it to others.
            Disk::Own(_) => {
                let root = PathBuf::from(format!("/proc/{}/root", self.process.pid()));
                root.join(folder.strip_prefix("/").unwrap_or(&folder))
            }
            Disk::Shared | Disk::ReadOnly(_) | Disk::Slow(_) => folder,
        }
    }

    /// How a client or service of the test connects to it.
    #[must_use]
    pub fn options(&self) -> Options {
        let options = Options::default().node(self.quic);
        match self.authority() {
            Some(authority) => options.tls(authority.folder("client")),
            None => options.state(self.state()),
        }
    }

    /// The authority that it was given.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.builder.authority.as_ref()
    }

    /// How a party of the node's authority with a name, such as `client/shop`, connects to it.
    ///
    /// # Panics
    ///
    /// If the node has not been given an authority.
    #[must_use]
    pub fn options_of(&self, name: &str) -> Options {
        let authority = self.authority().expect("the node has one");
        Options::default()
            .node(self.quic)
            .tls(authority.named(name))
    }

    /// A connected client.
    ///
    /// # Panics
    ///
    /// If it cannot connect.
    pub async fn client(&self) -> Client {
        let connected = Client::connect(self.options()).await;
        connected.expect("a client of the node's own authority connects")
    }

    /// Its HTTP listener.
    #[must_use]
    pub fn http(&self) -> Http {
        Http::at(self.http)
    }

    /// Its admin listener.
    ///
    /// # Panics
    ///
    /// If it has none.
    #[must_use]
    pub fn admin(&self) -> Http {
        Http::at(self.admin.expect("the node has an admin listener"))
    }

    /// Where browsers find its status page.
    ///
    /// # Panics
    ///
    /// If it has no admin listener.
    #[must_use]
    pub fn page(&self) -> String {
        let admin = self.admin.expect("the node has an admin listener");
        format!("http://127.0.0.1:{}/", admin.port())
    }

    /// Its metrics of this moment.
    pub async fn scrape(&self) -> Scrape {
        let response = self.admin().get("/metrics").await;
        let text = String::from_utf8(response.body);
        Scrape::parse(&text.expect("metrics are text"))
    }

    /// A service process that will connect to it.
    #[must_use]
    pub fn service(&self, name: &str) -> ServiceBuilder {
        ServiceBuilder::new(self, name)
    }

    /// A second process on the same state and addresses, once this one is gone.
    pub async fn start_again(self) -> Self {
        self.again().start().await
    }

    /// How to start a second process on the same state and addresses. This one is killed.
    #[must_use]
    pub fn again(self) -> NodeBuilder {
        NodeBuilder {
            http: self.http.to_string(),
            quic: self.quic.to_string(),
            admin: self.admin.map_or("off".to_owned(), |it| it.to_string()),
            ..self.builder
        }
    }

    /// Makes its own file system read-only, or writable again. The system does that only
    /// once no file is open for writing, so it is done in two halves: a read-only mount
    /// hides the folder, and files that are open take no more.
    ///
    /// # Panics
    ///
    /// If the system does not allow it.
    pub async fn set_read_only(&self, is_read_only: bool) {
        let folder = self.builder.state_folder();
        let script = if is_read_only {
            r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0""#
        } else {
            r#"umount "$0""#
        };
        let mut enter = clean(Path::new("nsenter"));
        enter
            .args(["--user", "--preserve-credentials", "--mount", "--target"])
            .arg(self.process.pid().to_string())
            .args(["sh", "-c", script])
            .arg(folder);
        let status = enter.status().await.expect("nsenter runs");
        assert!(status.success(), "the folder cannot be mounted");
        self.process.limit_files(is_read_only.then_some(0));
    }
}
