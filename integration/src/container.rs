//! Images and containers by podman, without any registry. All that it keeps is in a folder that goes with
//! the test.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Command as StdCommand, Output, Stdio},
};

use rustix::process::{Resource, getrlimit};
use tempfile::TempDir;
use tokio::process::Command;

/// Descriptors and threads that a container may have.
const DESCRIPTORS: u64 = 65_536;
const THREADS: u64 = 4096;

/// Who makes images and runs containers.
pub struct Engine {
    folder: TempDir,
}

/// What images are made of.
pub struct Stages<'a> {
    /// The Dockerfile.
    pub file: &'a Path,
    /// Its context.
    pub context: &'a Path,
    /// The name of a stage that is not built, and the folder that is its root instead.
    pub given: (&'a str, &'a Path),
}

/// How a container is to be run.
#[derive(Default)]
pub struct Run<'a> {
    /// What is run in place of the image's own command.
    pub command: Vec<String>,
    /// Variables.
    pub variables: Vec<(String, String)>,
    /// Flags of `podman run`.
    pub flags: Vec<String>,
    /// The file of the network that it is in.
    pub network: Option<&'a Path>,
    /// Whom it asks for the addresses of names.
    pub dns: Option<Ipv4Addr>,
}

/// A container that was started; gone when dropped.
pub struct Container<'a> {
    engine: &'a Engine,
    name: String,
}

impl Engine {
    /// One that has nothing yet.
    ///
    /// # Panics
    ///
    /// If the system has no place for temporary files, or a program is missing.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it does I/O")]
    pub fn new() -> Self {
        for program in ["podman", "runc"] {
            let found = StdCommand::new(program).arg("--version").output();
            assert!(
                found.is_ok_and(|found| found.status.success()),
                "{program} is missing: install the Debian packages podman and runc, or let \
                 ./test.sh --containers do it"
            );
        }
        Self {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        }
    }

    /// Makes an image of one stage.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub async fn build(&self, image: &str, stage: &str, from: Stages<'_>) {
        let (given, folder) = from.given;
        let mut build = self.podman();
        build
            .args(["build", "--quiet", "--isolation", "chroot"])
            // Other forms have no health check.
            .args(["--format", "docker", "--target", stage, "--tag", image])
            .arg(format!("--build-context={given}={}", folder.display()))
            .arg("--file")
            .arg(from.file)
            .arg(from.context);
        done(&mut build).await;
    }

    /// What podman says of an image, by a template.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub async fn image(&self, image: &str, template: &str) -> String {
        let mut inspect = self.podman();
        inspect.args(["image", "inspect", "--format", template, image]);
        done(&mut inspect).await
    }

    /// The files and folders of an image.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub async fn files(&self, image: &str) -> Vec<String> {
        let mut mount = self.podman();
        let place = done(mount.args(["image", "mount", image])).await;
        let mut find = Command::new("find");
        find.args([&*place, "-mindepth", "1", "-printf", "%M %U %P\n"]);
        let files = done(&mut find).await;
        done(self.podman().args(["image", "unmount", image])).await;
        files.lines().map(str::to_owned).collect()
    }

    /// Starts a container.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn run(&self, name: &str, image: &str, run: Run<'_>) -> Container<'_> {
        let mut podman = self.podman();
        podman.args(["run", "--detach", "--pull", "never", "--name", name]);
        // No init is there to look after its health.
        podman.arg("--no-healthcheck");
        // podman would ask for more than this process may give.
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(DESCRIPTORS);
        let descriptors = most.min(DESCRIPTORS);
        podman.arg(format!("--ulimit=nofile={descriptors}:{descriptors}"));
        podman.arg(format!("--ulimit=nproc={THREADS}:{THREADS}"));
        if let Some(network) = run.network {
            podman.arg(format!("--network=ns:{}", network.display()));
        }
        if let Some(dns) = run.dns {
            podman.arg(format!("--dns={dns}"));
        }
        for (name, value) in run.variables {
            podman.arg(format!("--env={name}={value}"));
        }
        podman.args(run.flags).arg(image).args(run.command);
        let container = Container {
            engine: self,
            name: name.to_owned(),
        };
        done(&mut podman).await;
        container
    }

    fn podman(&self) -> Command {
        let mut podman = Command::new("podman");
        let at = |name| self.folder.path().join(name);
        podman
            .arg("--root")
            .arg(at("images"))
            .arg("--runroot")
            .arg(at("run"))
            .arg("--tmpdir")
            .arg(at("temporary"))
            .args(["--storage-driver", "vfs", "--runtime", "runc"])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        podman
    }
}

impl Container<'_> {
    /// Runs a program in it, and gives how it ended and what it said.
    ///
    /// # Panics
    ///
    /// If podman cannot be run.
    pub async fn exec(&self, command: &[&str]) -> Output {
        let mut podman = self.engine.podman();
        podman.args(["exec", &self.name]).args(command);
        podman.output().await.expect("podman is installed")
    }

    /// What it has said.
    ///
    /// # Panics
    ///
    /// If it was not started.
    pub async fn said(&self) -> String {
        let mut logs = self.engine.podman();
        logs.args(["logs", &self.name]);
        let output = logs.output().await.expect("podman is installed");
        let [out, err] = [output.stdout, output.stderr];
        String::from_utf8_lossy(&[out, err].concat()).into_owned()
    }

    /// Stops it as an operator does, by SIGTERM, and by SIGKILL after some seconds; its exit code.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub async fn stop(&self, seconds: u32) -> i32 {
        let seconds = seconds.to_string();
        let mut stop = self.engine.podman();
        done(stop.args(["stop", "--time", &seconds, &self.name])).await;
        let mut wait = self.engine.podman();
        let code = done(wait.args(["wait", &self.name])).await;
        code.parse().expect("an exit code is a number")
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let mut remove = self.engine.podman().into_std();
        let _ = remove
            .args(["rm", "--force", "--time", "0", &self.name])
            .output();
    }
}

/// What a command prints, which has to succeed.
async fn done(command: &mut Command) -> String {
    let output = command.output().await;
    let output = output.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}
