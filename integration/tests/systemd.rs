//! A node as a unit of a systemd that has booted, with the unit file that is deployed.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command as StdCommand,
};

use nano_client::{Client, Options, Secret, Service};
use nano_integration::{Booted, Http, Load, Node, nanod, until};
use serde_json::{Value, json};

const SECRET: &str = "a-secret-of-the-test-of-the-unit";
const UNIT: &str = include_str!("../../deploy/systemd/nanod.service");
const USERS: &str = include_str!("../../deploy/systemd/sysusers.conf");
const BINARY: &str = "/usr/local/bin/nanod";
const FILE: &str = "/etc/nanod/nanod.toml";

/// The exposure that systemd-analyze finds in the unit, at most; 10 is that of one without any
/// hardening.
const EXPOSURE: f64 = 1.2;

fn binary() -> PathBuf {
    nanod().as_std().get_program().into()
}

/// A port of loopback that nobody has, neither over TCP nor UDP.
fn free_address() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// The unit within a container that has booted.
struct Unit {
    booted: Booted,
    address: SocketAddr,
}

impl Unit {
    async fn install() -> Option<Self> {
        let booted = Booted::start(&binary(), BINARY).await?;
        let address = free_address();
        booted.write("/etc/systemd/system/nanod.service", UNIT);
        booted.write("/usr/lib/sysusers.d/nanod.conf", USERS);
        booted.write(FILE, include_str!("../../deploy/nanod.toml"));
        // What differs from one machine to another. The watchdog is that of somebody impatient.
        let local = format!(
            "[Service]\nEnvironment=NANO_HTTP={address} NANO_QUIC={address} NANO_THREADS=2 NANO_ADMIN=off\n\
             Environment=NANO_CLUSTER_SECRET={SECRET}\nWatchdogSec=2\n"
        );
        booted.write("/etc/systemd/system/nanod.service.d/local.conf", &local);
        booted.succeeds(&["systemd-sysusers"]).await;
        booted.succeeds(&["systemctl", "daemon-reload"]).await;
        Some(Self { booted, address })
    }

    async fn systemctl(&self, verb: &str) {
        self.booted.succeeds(&["systemctl", verb, "nanod"]).await;
    }

    async fn property(&self, name: &str) -> String {
        let show = ["systemctl", "show", "--value", "--property", name, "nanod"];
        self.booted.succeeds(&show).await.trim().to_owned()
    }

    async fn until_property(&self, name: &str, value: &str) {
        until(&format!("{name} to be {value}"), async || {
            (self.property(name).await == value).then_some(())
        })
        .await;
    }

    async fn until_status(&self, words: &str) {
        until(&format!("a status with {words:?}"), async || {
            self.property("StatusText")
                .await
                .contains(words)
                .then_some(())
        })
        .await;
    }

    /// What the node has logged since it was started.
    async fn log(&self) -> String {
        let id = self.property("InvocationID").await;
        let id = format!("_SYSTEMD_INVOCATION_ID={id}");
        self.booted
            .succeeds(&["journalctl", "--output=cat", &id])
            .await
    }

    /// For parties that know the unit's node first, and then another.
    fn options(&self, other: SocketAddr) -> Options {
        Options::default()
            .nodes([self.address, other])
            .state("/nonexistent")
            .cluster_secret(Secret::new(SECRET).unwrap())
            .direct(false)
    }
}

/// systemd has no complaint about the unit, and finds little that it leaves open.
async fn is_well_written(unit: &Unit) {
    let verify = ["systemd-analyze", "verify", "--man=no", "nanod.service"];
    let output = unit.booted.run(&verify).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let security = ["systemd-analyze", "security", "--no-pager", "nanod.service"];
    let said = unit.booted.succeeds(&security).await;
    let (_, exposure) = said
        .split_once("Overall exposure level for nanod.service: ")
        .unwrap();
    let exposure: f64 = exposure.split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE, "{said}");
}

/// A configuration that is wrong ends the start for good.
async fn does_not_start_with_a_bad_file(unit: &Unit) {
    let right = fs::read_to_string(unit.booted.path(FILE)).unwrap();
    unit.booted.write(FILE, "drain_ms = 'long'");
    let start = unit.booted.run(&["systemctl", "start", "nanod"]).await;
    assert!(!start.status.success());
    assert_eq!(unit.property("ExecMainStatus").await, "2");
    assert_eq!(unit.property("ActiveState").await, "failed");
    assert_eq!(unit.property("NRestarts").await, "0");
    unit.booted.write(FILE, &right);
}

/// `systemctl start` returns once the node serves, as its user, from its state folder.
async fn starts(unit: &Unit) {
    unit.systemctl("start").await;
    let response = Http::at(unit.address)
        .post(&json!({"Pattern": "a:1"}))
        .await;
    assert_eq!(response.header("nano-error"), Some("no_route"));
    unit.systemctl("is-active").await;
    let status = format!("serving HTTP on {0} and QUIC on {0}", unit.address);
    assert_eq!(unit.property("StatusText").await, status);
    let pid = unit.property("MainPID").await;
    let user = ["stat", "--format=%U", &format!("/proc/{pid}")];
    assert_eq!(unit.booted.succeeds(&user).await.trim(), "nanod");
    assert!(unit.booted.path("/var/lib/nanod/registry").exists());
    let log = unit.log().await;
    // What the machine grants is its own affair.
    let granted = |line: &str| line.contains("net.core.rmem_max") || line.contains("LimitNOFILE");
    let mut warnings = log.lines().filter(|line| line.contains("WARN"));
    assert!(warnings.all(granted), "{log}");
}

/// The watchdog ends a node that is frozen, and systemd starts it anew.
async fn is_started_anew_when_it_hangs(unit: &Unit) {
    let frozen = unit.property("MainPID").await;
    unit.booted.succeeds(&["kill", "-STOP", &frozen]).await;
    unit.until_property("NRestarts", "1").await;
    unit.until_property("ActiveState", "active").await;
    assert_ne!(unit.property("MainPID").await, frozen);
}

/// `systemctl reload` has settings change, refuses wrong ones, and leaves the process.
async fn reloads(unit: &Unit) {
    let pid = unit.property("MainPID").await;
    unit.booted
        .write(FILE, "deadline_ms = 1234\nmax_connections = 99\n");
    unit.systemctl("reload").await;
    until("the node to have reloaded", async || {
        let log = unit.log().await;
        let has_changed =
            log.contains("deadline_ms = 1234 (/etc/nanod/nanod.toml:1:15) from now on");
        let is_warned =
            log.contains("max_connections = 99 (/etc/nanod/nanod.toml:2:19) has changed");
        (has_changed && is_warned).then_some(())
    })
    .await;
    unit.booted.write(FILE, "deadline_ms = 0\n");
    unit.systemctl("reload").await;
    unit.until_status("did not take: configuration").await;
    unit.booted.write(FILE, "");
    unit.systemctl("reload").await;
    let status = format!("QUIC on {}", unit.address);
    until("the status of a good reload", async || {
        unit.property("StatusText")
            .await
            .ends_with(&status)
            .then_some(())
    })
    .await;
    unit.until_property("ActiveState", "active").await;
    assert_eq!(unit.property("MainPID").await, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booted_systemd_starts_reloads_and_stops_a_node_and_no_call_fails() {
    let Some(unit) = Unit::install().await else {
        return;
    };
    is_well_written(&unit).await;
    does_not_start_with_a_bad_file(&unit).await;
    starts(&unit).await;
    is_started_anew_when_it_hangs(&unit).await;

    let other = free_address();
    let answer = async |_, _: Value| Ok(json!({"Name": "one"}));
    let service = Service::builder().on("a:1", answer);
    let service = service.start(unit.options(other)).await.unwrap();
    let client = Client::connect(unit.options(other)).await.unwrap();
    let load = Load::paced(&client, "a:1", 8);
    load.runs(100).await;
    reloads(&unit).await;
    load.runs(100).await;
    let status = client.status().await.unwrap();
    assert_eq!(status.quic, unit.address.to_string());
    assert_eq!(status.sessions, 2, "those that there were");

    let other = Node::builder().quic(&other.to_string());
    let other = other.variable("NANO_CLUSTER_SECRET", SECRET).start().await;
    unit.systemctl("stop").await;
    load.runs(100).await;
    assert_eq!(load.end().await, []);
    assert_eq!(unit.property("Result").await, "success");
    assert_eq!(unit.property("ExecMainStatus").await, "0");
    assert!(
        !unit.log().await.contains("cutting off"),
        "{}",
        unit.log().await
    );
    let status = client.status().await.unwrap();
    assert_eq!(status.quic, other.quic.to_string());
    service.drain().await;
}

/// The same without a container, for those who may not start one.
#[test]
fn systemd_analyze_has_no_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("nanod.service");
    let binary = format!("ExecStart={}", binary().display());
    let text = UNIT.replace(&format!("ExecStart={BINARY}"), &binary);
    assert_ne!(text, UNIT);
    fs::write(&unit, text).unwrap();
    let output = StdCommand::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .expect("systemd-analyze is installed, as test.sh does");
    let said = String::from_utf8_lossy(&output.stderr);
    let about_it = said.lines().filter(|line| line.contains("nanod"));
    let about_it: Vec<_> = about_it.collect();
    assert!(about_it.is_empty(), "{said}");
    assert!(Path::new("/bin/kill").exists());
}
