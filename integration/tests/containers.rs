//! What is in deploy for containers: the image, the compose file and the manifests, without a registry.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command as StdCommand,
    time::Instant,
};

use nano_integration::{Container, Dns, Engine, Hosts, Process, Run, Stages, nanod, until};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

const SECRET: &str = "what-every-container-of-the-test-knows";

/// What compose.yaml asks for a secret by.
const SECRET_VARIABLE: &str = "${NANO_CLUSTER_SECRET:?make one with openssl rand -hex 32}";

/// Seconds for a container to end by itself.
const PATIENT: u32 = 40;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Python with what ./test.sh --containers installs for it.
fn python() -> PathBuf {
    let python = root().join("target/python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: ./test.sh --containers makes it, with kubernetes-validate from PyPI",
        python.display()
    );
    python
}

/// The parts of compose.yaml that the test follows.
#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, ServiceSpec>,
    networks: BTreeMap<String, Value>,
}

#[derive(Clone, Deserialize)]
struct ServiceSpec {
    image: String,
    build: Option<Build>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    cap_drop: Vec<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Value>,
}

#[derive(Clone, Deserialize)]
struct Build {
    context: PathBuf,
    dockerfile: PathBuf,
    target: String,
}

impl Compose {
    fn read() -> Self {
        let to_json = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
        let file = fs::File::open(root().join("deploy/docker/compose.yaml")).unwrap();
        let mut python = StdCommand::new(python());
        let read = python.args(["-c", to_json]).stdin(file).output().unwrap();
        assert!(
            read.status.success(),
            "{}",
            String::from_utf8_lossy(&read.stderr)
        );
        serde_json::from_slice(&read.stdout).unwrap()
    }

    /// The first address of the network that it asks for.
    fn network(&self) -> Ipv4Addr {
        let subnet = self.networks["default"]["ipam"]["config"][0]["subnet"].as_str();
        let (first, length) = subnet.unwrap().split_once('/').unwrap();
        assert_eq!(length, "24");
        first.parse().unwrap()
    }

    /// Its services whose images are made of a stage of the Dockerfile.
    fn of_stage(&self, stage: &str) -> Vec<String> {
        let services = self.services.iter();
        let of_stage = services.filter(|(_, service)| {
            let build = service.build.as_ref();
            build.is_some_and(|build| build.target == stage)
        });
        of_stage.map(|(name, _)| name.clone()).collect()
    }
}

/// The compose file as it runs: each service on a host of its own.
struct Fleet<'a> {
    compose: &'a Compose,
    engine: &'a Engine,
    hosts: Hosts,
    dns: Dns,
    _redis: Process,
}

impl<'a> Fleet<'a> {
    /// The network, its names and Redis, which is the one of this machine.
    async fn new(compose: &'a Compose, engine: &'a Engine) -> Option<Self> {
        let mut hosts = Hosts::new(compose.network())?;
        let names = compose.services.keys().map(|name| {
            let address = hosts.add(name);
            (name.clone(), address)
        });
        let names = names.collect();
        hosts.add("caller");
        let command = &compose.services["redis"].command;
        let mut redis = Command::new(&command[0]);
        // As the image of Redis has it.
        redis.args(&command[1..]).args(["--protected-mode", "no"]);
        Some(Self {
            compose,
            engine,
            dns: Dns::start(&hosts, names),
            _redis: Process::start(&mut hosts.on("redis", &redis)),
            hosts,
        })
    }

    /// Starts a service as the compose file says.
    async fn start(&self, name: &str) -> Container<'a> {
        let service = self.compose.services[name].clone();
        let mut flags: Vec<_> = service
            .volumes
            .iter()
            .map(|it| format!("--volume={it}"))
            .collect();
        flags.extend(service.cap_drop.iter().map(|it| format!("--cap-drop={it}")));
        if service.read_only {
            flags.push("--read-only".to_owned());
        }
        let variables = service.environment.into_iter();
        let variables =
            variables.map(|(name, value)| (name, value.replace(SECRET_VARIABLE, SECRET)));
        let run = Run {
            command: service.command,
            variables: variables.collect(),
            flags,
            network: Some(&self.hosts.file(name)),
            dns: Some(self.hosts.gateway()),
        };
        self.engine.run(name, &service.image, run).await
    }

    /// What curl is told from another host, and the status.
    async fn curl(&self, name: &str, path: &str, body: &str) -> (String, String) {
        let url = format!("http://{}:9999{path}", self.hosts.address(name));
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--data",
            body,
        ])
        .args(["--write-out", "\n%{http_code}", &url]);
        let output = self.hosts.on("caller", &curl).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (answer, status) = text.rsplit_once('\n').unwrap();
        (answer.to_owned(), status.to_owned())
    }
}

async fn until_healthy(container: &Container<'_>) {
    until("the container to be healthy", async || {
        let asked = container.exec(&["/bin/nanod", "health"]).await;
        asked.status.success().then_some(())
    })
    .await;
}

const SUM: &str = r#"{"Pattern":"role:math,cmd:sum","Left":1,"Right":2}"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it makes images; ./test.sh --containers runs it"]
async fn the_image_holds_one_program_that_is_nobody() {
    let engine = Engine::new();
    build(&engine, &Compose::read()).await;
    let files = engine.files("nanod").await;
    let expected = ["drwx------ 65532 var/lib/nanod", "-rwxr-xr-x 0 bin/nanod"];
    for line in expected {
        assert!(
            files.iter().any(|file| file == line),
            "{line} is not in {files:#?}"
        );
    }
    assert_eq!(
        files.iter().filter(|file| file.starts_with('-')).count(),
        1,
        "{files:#?}"
    );
    assert_eq!(engine.image("nanod", "{{.User}}").await, "65532:65532");
    let health = engine.image("nanod", "{{.HealthCheck.Test}}").await;
    assert_eq!(health, "[CMD /bin/nanod health]");
    let size: u64 = engine.image("nanod", "{{.Size}}").await.parse().unwrap();
    eprintln!("the image has {:.1} MB", size as f64 / 1e6);
    // Nothing but the program can be run in it.
    let run = Run {
        flags: vec!["--network=none".to_owned()],
        ..Run::default()
    };
    let alone = engine.run("alone", "nanod", run).await;
    let shell = alone.exec(&["/bin/sh"]).await;
    assert!(!shell.status.success());
    until_healthy(&alone).await;
    assert_eq!(alone.stop(PATIENT).await, 0, "{}", alone.said().await);
}

/// Makes both images of what ./test.sh --containers has built, in place of the stage that builds.
async fn build(engine: &Engine, compose: &Compose) {
    let parts = root().join("target/images");
    assert!(
        parts.join("out/nanod/bin/nanod").exists(),
        "{} is missing: ./test.sh --containers makes it",
        parts.display()
    );
    let folder = root().join("deploy/docker");
    for name in ["one", "sum"] {
        let ServiceSpec { image, build, .. } = &compose.services[name];
        let build = build.as_ref().unwrap();
        let context = folder.join(&build.context);
        let file = context.join(&build.dockerfile);
        let from = Stages {
            file: &file,
            context: &context,
            given: ("build", &parts),
        };
        engine.build(image, &build.target, from).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it makes images; ./test.sh --containers runs it"]
async fn the_services_of_the_compose_file_work_together() {
    let (engine, compose) = (Engine::new(), Compose::read());
    let Some(fleet) = Fleet::new(&compose, &engine).await else {
        return;
    };
    build(&engine, &compose).await;
    let mut nodes = BTreeMap::new();
    for name in compose.of_stage("nanod") {
        let begun = Instant::now();
        let node = fleet.start(&name).await;
        until_healthy(&node).await;
        eprintln!("{name} was healthy after {:?}", begun.elapsed());
        nodes.insert(name, node);
    }
    let mut services = Vec::new();
    for name in compose.of_stage("math") {
        let waits_for = compose.services[&name].depends_on.keys();
        assert!(waits_for.eq(nodes.keys()));
        services.push(fleet.start(&name).await);
    }
    // Both nodes answer, for services that are connected to either.
    for name in nodes.keys() {
        until("the services to be known", async || {
            let answered = fleet.curl(name, "/", SUM).await;
            (answered == (r#"{"Result":3}"#.to_owned(), "200".to_owned())).then_some(())
        })
        .await;
        assert!(fleet.dns.answered(name) > 0, "nobody asked where {name} is");
    }
    assert!(
        fleet.dns.answered("redis") > 0,
        "nobody asked where Redis is"
    );
    let status = nodes["two"].exec(&["/bin/nanod", "status", "--json"]).await;
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["redis"]["in_step"], true, "{status}");
    assert_eq!(status["nodes"], 1, "{status}");

    programs_without_tokens_register(&fleet).await;
    a_node_that_is_stopped_costs_no_call(&fleet, nodes).await;
    for service in services {
        assert_eq!(service.stop(PATIENT).await, 0, "{}", service.said().await);
    }
}

/// As programs of go-nano do, from the network that the file names.
async fn programs_without_tokens_register(fleet: &Fleet<'_>) {
    let caller = fleet.hosts.address("caller");
    let service = format!(r#"{{"Pattern":"go:1","ServiceAddress":"{caller}:4444"}}"#);
    let (said, status) = fleet.curl("one", "/register", &service).await;
    assert_eq!((said.as_str(), status.as_str()), ("", "200"));
    // Nobody listens there; the other node knows of it all the same.
    until("the other node to know", async || {
        let (said, _) = fleet.curl("two", "/", r#"{"Pattern":"go:1"}"#).await;
        (!said.contains("no_route")).then_some(())
    })
    .await;
}

/// The services of the first are the second's when it is gone.
async fn a_node_that_is_stopped_costs_no_call(
    fleet: &Fleet<'_>,
    mut nodes: BTreeMap<String, Container<'_>>,
) {
    let one = nodes.remove("one").unwrap();
    let stopped = one.stop(PATIENT);
    tokio::pin!(stopped);
    let mut calls = 0;
    let code = loop {
        tokio::select! {
            code = &mut stopped => break code,
            answered = fleet.curl("two", "/", SUM) => {
                assert_eq!(answered, (r#"{"Result":3}"#.to_owned(), "200".to_owned()));
                calls += 1;
            }
        }
    };
    assert!(calls > 0);
    assert_eq!(code, 0, "{}", one.said().await);
    let (said, _) = fleet.curl("two", "/", SUM).await;
    assert_eq!(said, r#"{"Result":3}"#);
    let two = nodes.remove("two").unwrap();
    // Its services have no other node to go to, and stay until it is gone.
    assert_eq!(two.stop(PATIENT).await, 0, "{}", two.said().await);
}

#[test]
#[ignore = "it needs a package from PyPI; ./test.sh --containers runs it"]
fn the_manifests_are_what_kubernetes_takes() {
    let validate = python().with_file_name("kubernetes-validate");
    let folder = root().join("deploy/kubernetes");
    let mut manifests = 0;
    for manifest in fs::read_dir(folder).unwrap() {
        let path = manifest.unwrap().path();
        let mut command = StdCommand::new(&validate);
        let validated = command.arg("--strict").arg(&path).output().unwrap();
        let said =
            String::from_utf8_lossy(&[validated.stdout, validated.stderr].concat()).into_owned();
        assert!(validated.status.success(), "{}: {said}", path.display());
        manifests += 1;
    }
    assert_eq!(manifests, 3);
}

/// A program ignores variables that it does not know, so a mistake in one would not be seen.
#[tokio::test]
async fn every_variable_that_is_deployed_is_one() {
    let help = nanod().arg("--help").output().await.unwrap();
    let of_node = String::from_utf8(help.stdout).unwrap();
    let of_library = fs::read_to_string(root().join("README.md")).unwrap();
    let mut named = BTreeSet::new();
    for folder in ["deploy/docker", "deploy/kubernetes"] {
        for file in fs::read_dir(root().join(folder)).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
            let variables = words.filter(|word| word.starts_with("NANO_"));
            named.extend(variables.map(str::to_owned));
        }
    }
    assert!(named.len() > 8, "only {named:?}: is the search broken?");
    for variable in named {
        let is_known = [&of_node, &of_library].map(|text| {
            let mut words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
            words.any(|word| word == variable)
        });
        assert!(is_known.contains(&true), "nothing reads {variable}");
    }
}
