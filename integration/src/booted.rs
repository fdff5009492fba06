//! A Debian with systemd as its first process, in a container of systemd-nspawn. It shares the
//! network with the test, so that both meet on loopback. Only root may start one.
//!
//! What the container is made of is fetched once, by debootstrap, and kept in the target folder.
//! What is written in it is gone with it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::{PATIENCE, Process, node::built, until};

/// A container that has booted; gone when dropped.
pub struct Booted {
    nspawn: Process,
    init: u32,
}

/// The release that is booted.
const SUITE: &str = "bookworm";

impl Booted {
    /// Boots one in which a file of this machine has a second name, for reading; `None`, and a word
    /// about it, if that is not allowed.
    ///
    /// # Panics
    ///
    /// If root cannot do it.
    pub async fn start(file: &Path, name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root may boot a container");
            return None;
        }
        let tree = tree().await;
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn
            .args(["--boot", "--quiet", "--volatile=overlay"])
            // There may be no systemd outside to be told of it.
            .args(["--register=no", "--keep-unit", "--link-journal=no"])
            .arg(format!("--bind-ro={}:{name}", file.display()))
            .arg("--directory")
            .arg(tree);
        let mut nspawn = Process::start(&mut nspawn);
        let init = until("the container's first process", async || {
            assert!(!nspawn.has_ended(), "systemd-nspawn has ended");
            first_process(nspawn.pid())
        })
        .await;
        let booted = Self { nspawn, init };
        until("the container to have booted", async || {
            let state = booted.command(&["systemctl", "is-system-running"]).output();
            let state = state
                .await
                .expect("nsenter is a part of every Debian")
                .stdout;
            [&b"running\n"[..], b"degraded\n"]
                .contains(&&*state)
                .then_some(())
        })
        .await;
        Some(booted)
    }

    /// A path in the container, as others reach it.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Writes a file in the container, and makes its folder.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        let folder = path.parent().expect("a file has a folder");
        fs::create_dir_all(folder).expect("root makes folders anywhere");
        fs::write(path, text).expect("root writes anywhere");
    }

    /// Runs a command in the container, as root.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn run(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().await;
        output.expect("nsenter is a part of every Debian")
    }

    /// Runs a command that has to succeed: what it prints.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn succeeds(&self, words: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.run(words).await;
        let (said, complained) = (
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr),
        );
        assert!(status.success(), "{words:?}: {status}\n{said}{complained}");
        said.into_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--all", "--target", &self.init.to_string(), "--"])
            .args(words)
            .kill_on_drop(true);
        command
    }
}

impl Drop for Booted {
    /// Ends the first process, with which all others end, and gives systemd-nspawn, which would
    /// leave them behind if it ended first, the time to tidy up.
    fn drop(&mut self) {
        let init = Pid::from_raw(self.init.cast_signed());
        let Some(Ok(())) = init.map(|init| kill_process(init, Signal::KILL)) else {
            return;
        };
        let end = Instant::now() + PATIENCE;
        while !self.nspawn.has_ended() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The child that is the first process of a namespace of its own.
fn first_process(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    let mut children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    children.find(|pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        ids.is_some_and(|ids| ids.split_whitespace().skip(1).eq(["1"]))
    })
}

/// The folder of the system, made if it is not there.
async fn tree() -> PathBuf {
    let target = built("").join("..");
    let tree = target.join(SUITE);
    if tree.exists() {
        return tree;
    }
    // It has its name once it is whole; another test may have made it meanwhile.
    let staged = tempfile::tempdir_in(&target).expect("the target folder can be written");
    // It becomes the root of all that runs there, under whatever user.
    let opened = fs::set_permissions(staged.path(), Permissions::from_mode(0o755));
    opened.expect("one's own folder can be opened");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args(["--variant=minbase", "--include=systemd,procps", SUITE])
        .arg(staged.path());
    let output = debootstrap.output().await;
    let output = output.expect("debootstrap is installed, as test.sh does");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "no Debian could be fetched:\n{said}"
    );
    fs::rename(staged.path(), &tree).unwrap_or_else(|error| assert!(tree.exists(), "{error}"));
    tree
}
