//! Certificates that are renewed, revoked and replaced while calls go on.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use nano_client::{Client, Code, ConnectError, Options, Secret};
use nano_integration::{
    Load, Node, Redis, ServiceBuilder, ServiceProcess, all_hear, ask, named, nanod, until,
    until_status,
};
use nano_tls::{Authority, LEAF_LIFETIME, TRUST_DOMAIN};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// An authority by hand, and the folders that it has issued.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let authority = Authority::create(TRUST_DOMAIN).unwrap();
        authority.write(&site.ca()).unwrap();
        site
    }

    fn ca(&self) -> PathBuf {
        self.0.path().join("ca")
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn authority(&self) -> Authority {
        Authority::load(&self.ca()).unwrap()
    }

    fn issue(&self, name: &str) -> PathBuf {
        self.issue_for(name, LEAF_LIFETIME)
    }

    fn issue_for(&self, name: &str, lifetime: Duration) -> PathBuf {
        let folder = self.folder(name);
        let issued = self
            .authority()
            .issue_into(&folder, &name.parse().unwrap(), lifetime);
        issued.unwrap();
        folder
    }

    /// A node of this site that logs each session.
    async fn node(&self) -> Node {
        let folder = self.issue("node/a");
        Node::builder()
            .flag("--tls", folder.display())
            .flag("--log", "info,nanod::session=debug")
            .start()
            .await
    }

    async fn service(&self, node: &Node, name: &str) -> ServiceProcess {
        let folder = self.issue(&format!("service/{name}"));
        serve(node, name).tls(folder).start().await
    }

    async fn client(&self, node: &Node, name: &str) -> Client {
        Client::connect(self.options(node, name)).await.unwrap()
    }

    fn options(&self, node: &Node, name: &str) -> Options {
        let folder = self.issue(&format!("client/{name}"));
        Options::default().node(node.quic).tls(folder)
    }

    /// Puts the authority's revocation list where a party finds it.
    fn tell_revoked(&self, name: &str) {
        replace(
            &self.folder(name).join("crl.pem"),
            &read(&self.ca().join("crl.pem")),
        );
    }

    /// Puts authorities where every party finds them.
    fn trust(&self, names: &[&str], authorities: &[&Authority]) {
        let pem: String = authorities.iter().map(|it| it.ca_pem()).collect();
        for name in names {
            replace(&self.folder(name).join("ca.pem"), &pem);
        }
    }
}

fn serve(node: &Node, name: &str) -> ServiceBuilder {
    node.service(name).pattern(&format!("{name}:1"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// As a careful writer does: a reader sees the old file or the new one.
fn replace(path: &Path, text: &str) {
    let staged = path.with_extension("staged");
    fs::write(&staged, text).unwrap();
    fs::rename(staged, path).unwrap();
}

/// How many sessions of an identity a node has seen.
fn sessions(node: &Node, name: &str) -> usize {
    let identity = format!("identity=\"spiffe://nano.local/{name}\"");
    let said = node.process.said();
    let begun = |line: &&str| line.contains(&identity) && line.contains(": session ");
    said.lines().filter(begun).count()
}

/// Waits until all of them have come again, with what they have to show by now.
async fn until_back(node: &Node, known: &[(&str, usize)]) {
    for (name, before) in known {
        until(&format!("{name} to come again"), async || {
            (sessions(node, name) > *before).then_some(())
        })
        .await;
    }
}

fn counted<'a>(node: &Node, names: &[&'a str]) -> Vec<(&'a str, usize)> {
    names
        .iter()
        .map(|name| (*name, sessions(node, name)))
        .collect()
}

/// Whether a party with what is in this folder is let in.
async fn is_let_in(node: &Node, folder: &Path) -> bool {
    match Client::connect(Options::default().node(node.quic).tls(folder)).await {
        Ok(client) => {
            client.close().await;
            true
        }
        Err(ConnectError::Untrusted { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

async fn tls(arguments: &[&str]) -> String {
    let output = nanod().arg("tls").args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const PARTIES: [&str; 2] = ["service/a", "client/through"];

#[tokio::test(flavor = "multi_thread")]
async fn rotated_certificates_cost_no_call() {
    let site = Site::new();
    let node = site.node().await;
    let _service = site.service(&node, "a").await;
    let direct = site.client(&node, "direct").await;
    let through = site.options(&node, "through").direct(false);
    let through = Client::connect(through).await.unwrap();
    let loads = [
        Load::of_processes(&direct, "a:1", 3),
        Load::of_processes(&through, "a:1", 3),
    ];
    for turn in 0..2 {
        let before = counted(&node, &PARTIES);
        for name in ["node/a", "service/a", "client/direct", "client/through"] {
            site.issue(name);
        }
        if turn == 0 {
            node.process.signal(Signal::HUP);
        }
        until_back(&node, &before).await;
        for load in &loads {
            load.runs(200).await;
        }
    }
    for load in loads {
        assert_eq!(load.end().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_roll_over_and_who_is_left_behind_is_out() {
    const ALL: [&str; 4] = ["node/a", "service/a", "client/direct", "client/through"];
    let (site, next) = (Site::new(), Site::new());
    let node = site.node().await;
    let _service = site.service(&node, "a").await;
    let direct = site.client(&node, "direct").await;
    let through = site.options(&node, "through").direct(false);
    let through = Client::connect(through).await.unwrap();
    let loads = [
        Load::of_processes(&direct, "a:1", 3),
        Load::of_processes(&through, "a:1", 3),
    ];
    let (old, new) = (site.authority(), next.authority());
    let left_behind = site.issue("client/behind");
    let ahead = next.issue("client/ahead");
    next.trust(&["client/ahead"], &[&new, &old]);
    assert!(!is_let_in(&node, &ahead).await);

    site.trust(&ALL, &[&old, &new]);
    until("the next authority to be trusted", async || {
        is_let_in(&node, &ahead).await.then_some(())
    })
    .await;
    assert!(is_let_in(&node, &left_behind).await);

    let parties = ["service/a", "client/direct", "client/through"];
    let before = counted(&node, &parties);
    for name in ALL {
        let issued = new.issue_into(&site.folder(name), &name.parse().unwrap(), LEAF_LIFETIME);
        issued.unwrap();
    }
    site.trust(&ALL, &[&new, &old]);
    until_back(&node, &before).await;
    // It trusts the next authority, or it would not connect.
    site.trust(&["client/behind"], &[&old, &new]);
    assert!(is_let_in(&node, &left_behind).await);

    site.trust(&ALL, &[&new]);
    until("the last authority to be forgotten", async || {
        (!is_let_in(&node, &left_behind).await).then_some(())
    })
    .await;
    assert!(is_let_in(&node, &ahead).await);
    for load in loads {
        load.runs(200).await;
        assert_eq!(load.end().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_out_and_others_do_not_notice() {
    let site = Site::new();
    let node = site.node().await;
    let stays = site.issue("service/a");
    let stays = serve(&node, "a").pattern("only:1").tls(stays);
    let _stays = stays.start().await;
    let goes = site.issue("service/b");
    let goes = serve(&node, "b").pattern("a:1").tls(goes).start().await;
    let good = site.client(&node, "good").await;
    let hasty = site
        .options(&node, "evil")
        .connect_timeout(Duration::from_secs(1));
    let evil = Client::connect(hasty).await.unwrap();
    let load = Load::of_processes(&good, "a:1", 4);
    let evil_load = Load::of_processes(&evil, "only:1", 2);
    load.runs(500).await;
    evil_load.runs(100).await;
    assert_eq!(ask(&good, "b:1").await.unwrap(), "b");

    let ca = site.ca();
    for name in ["service/b", "client/evil"] {
        let said = tls(&["revoke", "--ca", ca.to_str().unwrap(), name]).await;
        assert!(said.contains(name), "{said}");
    }
    for name in ["node/a", "service/a", "client/good"] {
        site.tell_revoked(name);
    }
    let since = Instant::now();
    node.process.signal(Signal::HUP);
    until("the service to be forgotten", async || {
        (ask(&good, "b:1").await.err()?.code == Code::NoRoute).then_some(())
    })
    .await;
    let hasty = evil.with_timeout(Duration::from_millis(500));
    until("nobody to answer", async || {
        ask(&hasty, "only:1").await.err().map(drop)
    })
    .await;
    eprintln!("they were out after {:?}", since.elapsed());
    for _ in 0..3 {
        assert!(ask(&hasty, "only:1").await.is_err());
    }
    for name in ["client/evil", "service/b"] {
        assert!(!is_let_in(&node, &site.folder(name)).await, "{name}");
    }
    load.runs(500).await;
    assert_eq!(load.end().await, []);
    assert!(!evil_load.end().await.is_empty());
    drop(goes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_certificate_and_not_before_its_calls() {
    let site = Site::new();
    let node = site.node().await;
    let _service = site.service(&node, "a").await;
    let good = site.client(&node, "good").await;
    let load = Load::of_processes(&good, "a:1", 2);
    for direct in [true, false] {
        let life = Duration::from_secs(8);
        let folder = site.issue_for("client/short", life);
        let options = Options::default()
            .node(node.quic)
            .tls(&folder)
            .direct(direct);
        let short = Client::connect(options).await.unwrap();
        ask(&short, "a:1").await.unwrap();
        let long = json!({"Do": "sleep", "Ms": life.as_millis() as u64 + 2_000});
        let answer: Result<Value, _> = short.act("a:1", &long).await;
        assert_eq!(answer.unwrap()["Name"], "a", "direct: {direct}");
        let hasty = short.with_timeout(Duration::from_millis(500));
        until("calls to end", async || {
            ask(&hasty, "a:1").await.err().map(drop)
        })
        .await;
        assert!(ask(&hasty, "a:1").await.is_err());
        assert!(!is_let_in(&node, &folder).await);
    }
    node.process.says("the certificate has ended").await;
    assert_eq!(load.end().await, []);
}

/// Calls for several lives of all certificates, through a node and without it.
async fn live_on(node: &Node, service: &str, client: Options) {
    let direct = Client::connect(client.clone()).await.unwrap();
    let through = Client::connect(client.direct(false)).await.unwrap();
    let loads = [
        Load::of_processes(&direct, "a:1", 2),
        Load::of_processes(&through, "a:1", 2),
    ];
    for _ in 0..3 {
        until_back(node, &[(service, sessions(node, service))]).await;
    }
    for load in loads {
        load.runs(100).await;
        assert_eq!(load.end().await, []);
    }
}

const LIFE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_secret_renews_its_certificates() {
    const SECRET: &str = "a-secret-for-certificates-of-seconds";
    let node = Node::builder()
        .variable("NANO_CLUSTER_SECRET", SECRET)
        .flag("--certificate-lifetime-s", LIFE.as_secs())
        .flag("--log", "info,nanod::session=debug")
        .start()
        .await;
    let options = Options::default()
        .node(node.quic)
        .certificate_lifetime(LIFE)
        .cluster_secret(Secret::new(SECRET).unwrap());
    let service = named("a:1", "a").start(options.clone().name("a")).await;
    let service = service.unwrap();
    live_on(&node, "service/a", options.name("c")).await;
    service.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_renews_its_own_certificates_and_those_of_its_machine() {
    let node = Node::builder()
        .flag("--certificate-lifetime-s", LIFE.as_secs())
        .flag("--log", "info,nanod::session=debug")
        .start()
        .await;
    let _service = serve(&node, "a").start().await;
    live_on(&node, "client/local", node.options()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_changes_nothing_and_is_said_once() {
    let site = Site::new();
    let node = site.node().await;
    let folder = site.folder("node/a");
    let client = site.issue("client/c");
    let refusals = || node.process.said().matches("not replaced").count();
    let (cert, key) = (
        read(&folder.join("cert.pem")),
        read(&folder.join("key.pem")),
    );
    let put = |cert: &str, key: &str| {
        replace(&folder.join("key.pem"), key);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(folder.join("key.pem"), mode).unwrap();
        replace(&folder.join("cert.pem"), cert);
    };
    let other = site.issue("node/b");
    let service = site.issue("service/s");
    let ended = site.issue_for("node/ended", Duration::ZERO);
    let of = |dir: &Path| (read(&dir.join("cert.pem")), read(&dir.join("key.pem")));
    let cases = [
        (
            ("no certificate".to_owned(), key.clone()),
            "no certificate in PEM",
        ),
        (of(&other), "is that of spiffe://nano.local/node/b now"),
        (of(&service), "is that of spiffe://nano.local/service/s now"),
        ((cert.clone(), of(&other).1), "is not the key of"),
        (of(&ended), "is that of spiffe://nano.local/node/ended now"),
    ];
    for ((cert, key), reason) in cases {
        put(&cert, &key);
        node.process.says(reason).await;
        let said = refusals();
        for _ in 0..2 {
            node.process.signal(Signal::HUP);
            node.process.says("no other certificates than before").await;
        }
        assert_eq!(refusals(), said, "{reason}");
        assert!(is_let_in(&node, &client).await);
    }
    put(&cert, &key);
    let (folder, ca) = (
        folder.display().to_string(),
        site.ca().display().to_string(),
    );
    let said = tls(&["renew", &folder, "--ca", &ca]).await;
    assert!(said.contains("node/a"), "{said}");
    node.process.says("certificates replaced").await;
    assert!(is_let_in(&node, &client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_go_on_calling_each_other_while_certificates_are_renewed() {
    const SECRET: &str = "a-secret-for-nodes-with-short-lives";
    let redis = Redis::start().await;
    let node = |name: &str| {
        Node::builder()
            .variable("NANO_CLUSTER_SECRET", SECRET)
            .flag("--name", name)
            .flag("--redis", redis.url())
            .flag("--certificate-lifetime-s", LIFE.as_secs())
            .flag("--log", "info,nanod::session=debug")
    };
    let (one, other) = tokio::join!(node("one").start(), node("other").start());
    let options = |node: &Node| {
        Options::default()
            .node(node.quic)
            .direct(false)
            .cluster_secret(Secret::new(SECRET).unwrap())
    };
    let service = named("a:1", "a").start(options(&one).name("a")).await;
    let service = service.unwrap();
    let client = Client::connect(options(&other).name("c")).await.unwrap();
    all_hear(std::slice::from_ref(&client), "a:1", Some("a")).await;
    let load = Load::paced(&client, "a:1", 4);
    for _ in 0..3 {
        until_back(&one, &[("node/other", sessions(&one, "node/other"))]).await;
        load.runs(100).await;
    }
    assert_eq!(load.end().await, []);
    service.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_end_is_said_and_shown() {
    let site = Site::new();
    let folder = site.issue_for("node/a", Duration::from_secs(20));
    let node = Node::builder()
        .flag("--tls", folder.display())
        .start()
        .await;
    let client = site.client(&node, "c").await;
    let end = client.status().await.unwrap().added.certificate_ends;
    let end = Duration::from_secs(end.unwrap());
    assert!(end > SystemTime::UNIX_EPOCH.elapsed().unwrap());

    let (folder, ca) = (
        folder.display().to_string(),
        site.ca().display().to_string(),
    );
    let shown = tls(&["show", "--json", &folder]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["identity"], "spiffe://nano.local/node/a");
    assert_eq!(
        (&shown["expired"], &shown["days_left"]),
        (&json!(false), &json!(0))
    );
    let shown = tls(&["show", &ca]).await;
    assert!(shown.contains("spiffe://nano.local"), "{shown}");
    assert!(shown.contains("authority"), "{shown}");

    node.process.says("the certificate is about to end").await;
    tls(&["renew", &folder, "--ca", &ca, "--days", "9"]).await;
    until_status(&client, "the new end", |status| {
        status.added.certificate_ends > Some(end.as_secs() + 86_400)
    })
    .await;
}
