//! The configuration against machines that are structs; only [`Config::load`] meets the real one.

mod loaded;

use std::os::unix::ffi::OsStringExt;

use nano_tls::Secret;

use nano_routing::BudgetSettings;

use super::*;

const SAMPLE: &str = include_str!("../../../deploy/nanod.toml");

/// What a machine would tell: a home and two cores, unless a test says otherwise.
struct Machine {
    flags: BTreeMap<&'static str, String>,
    env: BTreeMap<String, OsString>,
    file: Option<String>,
    cores: usize,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            flags: BTreeMap::new(),
            env: BTreeMap::from([("HOME".into(), "/home/nano".into())]),
            file: None,
            cores: 2,
        }
    }

    fn flag(mut self, key: &'static str, text: &str) -> Machine {
        self.flags.insert(key, text.to_owned());
        self
    }

    fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Machine {
        self.env.insert(name.into(), value.into());
        self
    }

    fn homeless(mut self) -> Machine {
        self.env.remove("HOME");
        self
    }

    fn file(mut self, text: &str) -> Machine {
        self.file = Some(text.to_owned());
        self
    }

    fn cores(mut self, cores: usize) -> Machine {
        self.cores = cores;
        self
    }

    fn load(&self) -> Result<Loaded, Errors> {
        Loaded::resolve(&Sources {
            flags: &self.flags,
            env: &|name| self.env.get(name).cloned(),
            file: self
                .file
                .as_deref()
                .map(|text| (Path::new("nanod.toml"), text)),
            cores: self.cores,
        })
    }

    fn resolve(&self) -> Result<Config, Errors> {
        Ok(self.load()?.config)
    }

    fn config(&self) -> Config {
        self.resolve().expect("a valid configuration")
    }

    fn problems(&self) -> Vec<String> {
        let errors = self.resolve().expect_err("an invalid configuration");
        errors.iter().map(ToString::to_string).collect()
    }

    fn default_state(&self) -> Option<PathBuf> {
        default_state(&|name| self.env.get(name).cloned())
    }
}

fn otlp(endpoint: &str) -> Option<OtlpSettings> {
    let set = OtlpSettings::to(endpoint.parse().expect("an endpoint"));
    OtlpSettings::choose(Some(set), &|_| None).expect("no variable is wrong")
}

fn redis_files([ca, cert, key, password, sentinel_password]: [&str; 5]) -> RedisFiles {
    RedisFiles {
        ca: Some(ca.into()),
        cert: Some(cert.into()),
        key: Some(key.into()),
        password: Some(password.into()),
        sentinel_password: Some(sentinel_password.into()),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn defaults() {
    let expected = Config {
        http: address("127.0.0.1:9999"),
        quic: address("127.0.0.1:9999"),
        admin: Some(address("127.0.0.1:9998")),
        state: "/home/nano/.local/state/nanod".into(),
        tls: None,
        cluster_secret: None,
        certificate_lifetime: Duration::from_secs(86_400),
        name: None,
        rules: None,
        tokens: None,
        http_callers: HttpCallers::Token,
        go_nano_keys: GoNanoSharing::Off,
        register_from: Networks::default(),
        allowed_targets: Networks::private(),
        redis: None,
        redis_files: RedisFiles::default(),
        redis_namespace: "default".to_owned(),
        advertise: None,
        threads: 1,
        ready_file: None,
        log: "info".to_owned(),
        log_format: LogFormat::Text,
        access_log: AccessLog::default(),
        otlp: None,
        trace_sample: 0,
        grace: Duration::from_millis(10_000),
        http_route_lost_after: Duration::from_millis(86_400_000),
        history: 8 << 20,
        drain: Duration::from_millis(30_000),
        deadline: Duration::from_millis(30_000),
        max_body: 16_777_216,
        max_connections: 20_000,
        max_in_flight: 65_536,
        max_calls: 1_000_000,
        max_bytes: None,
        max_patterns: 2_000_000,
        identity_share: 100,
        retry: BudgetSettings {
            percent: 20,
            per_second: 10,
        },
    };
    assert_eq!(Machine::new().config(), expected);
}

#[test]
fn four_of_the_largest_bodies_find_room() {
    let bytes = |machine: Machine| machine.config().max_bytes();
    assert_eq!(bytes(Machine::new()), 1 << 30);
    let large = || Machine::new().flag("max_body", "1GiB");
    assert_eq!(bytes(large()), 4 << 30);
    assert_eq!(bytes(large().flag("max_bytes", "2GiB")), 2 << 30);
}

#[test]
fn each_layer_wins_over_the_next() {
    let machine = Machine::new();
    assert_eq!(machine.config().http, address("127.0.0.1:9999"));
    let machine = machine.file("http = '127.0.0.1:1'");
    assert_eq!(machine.config().http, address("127.0.0.1:1"));
    let machine = machine.env("NANO_HTTP", "127.0.0.1:2");
    assert_eq!(machine.config().http, address("127.0.0.1:2"));
    let machine = machine.flag("http", "127.0.0.1:3");
    assert_eq!(machine.config().http, address("127.0.0.1:3"));
}

#[test]
fn a_value_that_loses_is_not_checked() {
    let machine = Machine::new()
        .file("threads = 'many'")
        .env("NANO_THREADS", OsString::from_vec(vec![0xff]))
        .flag("threads", "3");
    assert_eq!(machine.config().threads, 3);
}

#[test]
fn every_setting_is_heard_in_every_layer() {
    let changed = Config {
        http: address("[::1]:1"),
        quic: address("[::1]:2"),
        admin: None,
        state: "/s".into(),
        tls: Some("/t".into()),
        cluster_secret: Some(SecretSource::File("/c".into())),
        certificate_lifetime: Duration::from_secs(12),
        name: Some("node/n".parse().expect("a name")),
        rules: Some("/u".into()),
        tokens: Some(TokenSource::File("/v".into())),
        http_callers: HttpCallers::Anyone,
        go_nano_keys: GoNanoSharing::Mirror,
        register_from: "10.0.0.0/8, ::1".parse().expect("networks"),
        allowed_targets: "192.0.2.0/24".parse().expect("a network"),
        redis: Some("rediss+sentinel://h:1/s".parse().expect("a URL")),
        redis_files: redis_files(["/a", "/d", "/k", "/p", "/q"]),
        redis_namespace: "s".to_owned(),
        advertise: Some("h:2".to_owned()),
        threads: 7,
        ready_file: Some("/r".into()),
        log: "warn,nanod=debug".to_owned(),
        log_format: LogFormat::Json,
        access_log: AccessLog {
            logged: Logged::Errors,
            file: Some("/l".into()),
            sample: 13,
        },
        otlp: otlp("http://h:4318"),
        trace_sample: 14,
        grace: Duration::from_millis(1),
        http_route_lost_after: Duration::from_millis(12),
        history: 13 << 10,
        drain: Duration::from_millis(2),
        deadline: Duration::from_millis(3),
        max_body: 2048,
        max_connections: 4,
        max_in_flight: 5,
        max_calls: 6,
        max_bytes: Some(7 << 30),
        max_patterns: 8,
        identity_share: 9,
        retry: BudgetSettings {
            percent: 10,
            per_second: 11,
        },
    };
    let texts = [
        "[::1]:1",
        "[::1]:2",
        "off",
        "/s",
        "/t",
        "/c",
        "12",
        "n",
        "/u",
        "/v",
        "anyone",
        "10.0.0.0/8,::1",
        "192.0.2.0/24",
        "rediss+sentinel://h:1/s",
        "/a",
        "/d",
        "/k",
        "/p",
        "/q",
        "s",
        "mirror",
        "h:2",
        "7",
        "/r",
        "warn,nanod=debug",
        "json",
        "errors",
        "/l",
        "13",
        "http://h:4318",
        "14",
        "1",
        "12",
        "13KiB",
        "2",
        "3",
        "2KiB",
        "4",
        "5",
        "6",
        "7 GiB",
        "8",
        "9",
        "10",
        "11",
    ];
    assert_eq!(SETTINGS.len(), texts.len());
    let (mut by_flag, mut by_env) = (Machine::new(), Machine::new());
    let mut file = String::new();
    for (setting, text) in SETTINGS.iter().zip(texts) {
        by_flag = by_flag.flag(setting.key, text);
        by_env = by_env.env(env_name(setting.key), text);
        file += &format!("{} = {text:?}\n", setting.key);
    }
    assert_eq!(by_flag.config(), changed);
    assert_eq!(by_env.config(), changed);
    assert_eq!(Machine::new().file(&file).config(), changed);
}

#[test]
fn tokens_are_in_a_file_or_in_the_variable_and_not_shown() {
    let given = Machine::new().env("NANO_TOKENS", "client/shop hunter2hunter2hunter2");
    assert!(matches!(given.config().tokens, Some(TokenSource::Given(_))));
    assert!(!format!("{:?}", given.config()).contains("hunter2"));
    let twice = given.flag("tokens_file", "/t").problems();
    assert_eq!(
        twice,
        ["tokens: they are in both NANO_TOKENS and /t: give one of them"]
    );
}

#[test]
fn a_password_is_not_shown() {
    let errors = Machine::new()
        .flag("redis", "redis://user:hunter2@a,b")
        .resolve()
        .expect_err("two hosts");
    let shown = errors.to_string();
    assert!(shown.contains("redis: the value (not shown)"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let config = Machine::new().flag("redis", "redis://user:hunter2@a");
    assert!(!format!("{:?}", config.config()).contains("hunter2"));
}

#[test]
fn what_is_said_of_redis_has_to_go_together() {
    let problems = |url: &str, keys: &[&'static str]| {
        let machine = Machine::new().flag("redis", url);
        let machine = keys
            .iter()
            .fold(machine, |machine, key| machine.flag(key, "/f"));
        match machine.resolve() {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    };
    let half = "redis_cert: a certificate and its key go together; give redis_key too, or neither";
    assert_eq!(problems("rediss://h", &["redis_cert"]), [half]);
    let half = "redis_key: a certificate and its key go together; give redis_cert too, or neither";
    assert_eq!(problems("rediss://h", &["redis_key"]), [half]);
    assert_eq!(
        problems("redis://h", &["redis_ca"]),
        [
            "redis_ca: it is for TLS, which redis://h:6379 does not ask for; write rediss or leave \
             it out"
        ]
    );
    assert_eq!(
        problems("redis://u:hunter2@h", &["redis_password_file"]),
        ["redis_password_file: the URL has a password too; give one of them"]
    );
    assert_eq!(
        problems("redis://hunter2@h", &[]),
        [
            "redis: the URL names a user and no password; write user:password@ or, for a password \
             alone, :password@, or give redis_password_file"
        ]
    );
    assert_eq!(
        problems("redis+cluster://h", &["redis_sentinel_password_file"]),
        [
            "redis_sentinel_password_file: redis+cluster://h:6379 names no sentinels; write \
             redis+sentinel or leave it out"
        ]
    );
    for (url, keys) in [
        ("redis://u@h", ["redis_password_file"].as_slice()),
        ("rediss://h", &["redis_ca", "redis_cert", "redis_key"]),
        (
            "redis+sentinel://h/s",
            &["redis_password_file", "redis_sentinel_password_file"],
        ),
    ] {
        assert_eq!(problems(url, keys), [""; 0], "{url}");
    }
}

#[test]
fn names_follow_from_the_key() {
    assert_eq!(flag_name("ready_file"), "ready-file");
    assert_eq!(env_name("ready_file"), "NANO_READY_FILE");
}

#[test]
fn all_errors_come_at_once() {
    let errors = Machine::new()
        .flag("http", "localhost")
        .flag("ready_file", "")
        .env("NANO_THREADS", "0")
        .env("NANO_QUIC", OsString::from_vec(b"1:\xff".to_vec()))
        .file("max_body = 1\nlog = true\n\n[drain_ms]\nx = 1\n[grace]\n")
        .resolve()
        .expect_err("seven wrong values and a wrong key");
    let expected = r#"8 problems in the configuration:
  "grace": unknown setting at nanod.toml:6:2; did you mean grace_ms?
  http: "localhost" from --http is not an IP address and a port, such as 127.0.0.1:9999
  quic: "1:\xFF" (not UTF-8) from NANO_QUIC is not an IP address and a port, such as 127.0.0.1:9999
  threads: "0" from NANO_THREADS is not an integer from 1 to 256
  ready_file: "" from --ready-file is not a path
  log: true from nanod.toml:2:7 is not a log filter, such as info or warn,nanod=debug
  drain_ms: a table from nanod.toml:4:2 is not an integer from 0 to 3600000
  max_body: 1 from nanod.toml:1:12 is not a size from 1 KiB to 1 GiB, in bytes or with KiB, MiB, GiB"#;
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn a_single_error_is_no_plural() {
    let errors = Machine::new().flag("log_format", "xml").resolve();
    assert_eq!(
        errors.expect_err("a wrong format").to_string(),
        "1 problem in the configuration:\n  log_format: \"xml\" from --log-format is not text or json"
    );
}

#[test]
fn syntax_errors_join_the_others() {
    let problems = Machine::new()
        .homeless()
        .flag("threads", "0")
        .file("state = '/s'\n\nhttp = \nquic quic = 1\n")
        .problems();
    // The file may well have named the state folder, so that nobody complains about it.
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with("nanod.toml:3:"), "{problems:?}");
    assert!(problems[1].starts_with("nanod.toml:4:"), "{problems:?}");
    assert_eq!(
        problems[2],
        "threads: \"0\" from --threads is not an integer from 1 to 256"
    );
}

#[test]
fn a_line_has_one_syntax_error() {
    let problems = Machine::new().file("x = [1,\n2\n\ny = 3").problems();
    assert_eq!(
        problems,
        ["nanod.toml:4:1: missing comma between array elements, expected `,`"]
    );
}

#[test]
fn unknown_keys_come_in_the_order_of_the_file() {
    let problems = Machine::new()
        .file("# sample\r\nthread = 2\r\n\r\n\"max-body\" = 1\r\ncolour = 1\r\nLOG = ''\r\n[config]\r\n")
        .problems();
    assert_eq!(
        problems,
        [
            "\"thread\": unknown setting at nanod.toml:2:1; did you mean threads?",
            "\"max-body\": unknown setting at nanod.toml:4:1; did you mean max_body?",
            "\"colour\": unknown setting at nanod.toml:5:1",
            "\"LOG\": unknown setting at nanod.toml:6:1",
            "\"config\": unknown setting at nanod.toml:7:2",
        ]
    );
}

const SECRET: &str = "a secret of enough bytes";

#[test]
fn the_cluster_secret_comes_from_a_variable_or_a_file() {
    let secret = |machine: Machine| machine.config().cluster_secret;
    let given = SecretSource::Given(Secret::new(SECRET).expect("a secret"));
    let file = || Some(SecretSource::File("/c".into()));
    assert_eq!(
        secret(Machine::new().env("NANO_CLUSTER_SECRET", SECRET)),
        Some(given)
    );
    assert_eq!(
        secret(Machine::new().env("NANO_CLUSTER_SECRET_FILE", "/c")),
        file()
    );
    assert_eq!(
        secret(Machine::new().flag("cluster_secret_file", "/c")),
        file()
    );
}

#[test]
fn a_wrong_cluster_secret_is_a_problem_that_does_not_show_it() {
    let machine = || Machine::new().env("NANO_CLUSTER_SECRET", SECRET);
    let twice = machine().file("cluster_secret_file = '/c'").problems();
    assert_eq!(
        twice,
        [
            "cluster_secret: the cluster's secret is given twice, in NANO_CLUSTER_SECRET and in the \
             file /c: give one of them"
        ]
    );
    let short = Machine::new().env("NANO_CLUSTER_SECRET", "hush").problems();
    assert!(short[0].contains("has 4 bytes"), "{short:?}");
    let misplaced = Machine::new()
        .file(&format!("cluster_secret = '{SECRET}'"))
        .problems();
    assert!(
        misplaced[0].ends_with("did you mean cluster_secret_file?"),
        "{misplaced:?}"
    );
    let config = format!("{:?}", machine().config());
    for shown in [twice, short, misplaced, vec![config]].concat() {
        assert!(
            !shown.contains(SECRET) && !shown.contains("hush"),
            "{shown}"
        );
    }
}

#[test]
fn suggestions() {
    for (key, suggestion) in [
        ("htpt", "http"),
        ("quick", "quic"),
        ("state_dir", "state"),
        ("readyfile", "ready_file"),
        ("drain", "drain_ms"),
        ("max_connection", "max_connections"),
    ] {
        let problems = Machine::new().file(&format!("{key} = 1")).problems();
        assert!(
            problems[0].ends_with(&format!("; did you mean {suggestion}?")),
            "{problems:?}"
        );
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    let machine = Machine::new().env("NANO_HUB", "x").env("NANO_htpp", "y");
    assert_eq!(machine.config(), Machine::new().config());
}

#[test]
fn every_setting_has_its_bounds() {
    let addresses: [&[&str]; 2] = [
        &["0.0.0.0:0", "[::]:65535"],
        &["", "9999", "1.2.3.4:65536", "a:1"],
    ];
    let paths: [&[&str]; 2] = [&["/a", "b c"], &["", " "]];
    let networks: [&[&str]; 2] = [
        &["none", "10.0.0.0/8", "::1, 192.0.2.1"],
        &["", "localhost", "10.0.0.0/33"],
    ];
    let hour: [&[&str]; 2] = [&["0", "3600000"], &["-1", "3600001", "1s", ""]];
    let bounds: [(&str, [&[&str]; 2]); 45] = [
        ("http", addresses),
        ("quic", addresses),
        ("admin", [&["off", "[::]:0"], &["", "on", "9998"]]),
        ("state", paths),
        ("tls", paths),
        ("cluster_secret_file", paths),
        (
            "certificate_lifetime_s",
            [&["1", "34300800"], &["0", "34300801", "1d"]],
        ),
        (
            "name",
            [&["a", "web-1.example.org"], &["", "a/b", "..", "a b"]],
        ),
        ("rules", paths),
        ("tokens_file", paths),
        ("http_callers", [&["token", "anyone"], &["", "nobody"]]),
        ("register_from", networks),
        ("allowed_targets", networks),
        (
            "redis",
            [
                &[
                    "redis://h",
                    "rediss://u:p@h:1/2",
                    "redis+sentinel://a,b/name",
                ],
                &["", "h:6379", "redis://", "redis://a,b"],
            ],
        ),
        ("redis_ca", paths),
        ("redis_cert", paths),
        ("redis_key", paths),
        ("redis_password_file", paths),
        ("redis_sentinel_password_file", paths),
        ("redis_namespace", [&["a", "eu.1-2_3"], &["", "a b", "{a}"]]),
        (
            "redis_go_nano_keys",
            [&["off", "read", "mirror"], &["", "write"]],
        ),
        (
            "advertise",
            [&["h:1", "[::1]:9999"], &["", "h", "h:0", ":1"]],
        ),
        ("threads", [&["1", "256"], &["0", "257", "two"]]),
        ("ready_file", paths),
        ("log", [&["off", "nanod=trace"], &["", " ", "nanod=loud"]]),
        ("log_format", [&["text", "json"], &["", "TEXT"]]),
        ("access_log", [&["off", "errors", "all"], &["", "some"]]),
        ("access_log_file", paths),
        (
            "access_log_sample",
            [&["1", "1000000000"], &["0", "1000000001"]],
        ),
        (
            "otlp_endpoint",
            [&["http://h", "https://h:1/x"], &["", "h:4318", "grpc://h"]],
        ),
        (
            "trace_sample",
            [&["0", "1000000000"], &["-1", "1000000001"]],
        ),
        ("grace_ms", hour),
        (
            "http_route_lost_after_ms",
            [&["1", "2592000000"], &["0", "2592000001"]],
        ),
        ("history", [&["0", "1 GiB"], &["-1", "2 GiB", "some"]]),
        ("drain_ms", hour),
        (
            "deadline_ms",
            [&["1", "3600000"], &["0", "3600001", "4294967297"]],
        ),
        (
            "max_body",
            [
                &["1024", "1KiB", "1024 KiB", "1024MiB", "1 GiB", "1073741824"],
                &[
                    "1023",
                    "0GiB",
                    "1025MiB",
                    "1073741825",
                    "4194305KiB",
                    "4GiB",
                    "1kb",
                    "MiB",
                    "-1",
                ],
            ],
        ),
        ("max_connections", [&["1", "1000000"], &["0", "1000001"]]),
        ("max_in_flight", [&["1", "1048576"], &["0", "1048577"]]),
        ("max_calls", [&["1", "100000000"], &["0", "100000001"]]),
        (
            "max_bytes",
            [&["1MiB", "1024GiB"], &["1048575", "1025GiB", "1TiB"]],
        ),
        ("max_patterns", [&["1", "100000000"], &["0", "100000001"]]),
        ("identity_share", [&["1", "100"], &["0", "101"]]),
        ("retry_percent", [&["0", "100"], &["-1", "101"]]),
        ("retry_per_second", [&["0", "1000000"], &["-1", "1000001"]]),
    ];
    assert!(
        SETTINGS
            .iter()
            .map(|setting| setting.key)
            .eq(bounds.iter().map(|(key, _)| *key))
    );
    for (key, [accepted, refused]) in bounds {
        for text in accepted {
            Machine::new().flag(key, text).config();
        }
        for text in refused {
            let problems = Machine::new().flag(key, text).problems();
            let shown = match key {
                "redis" | "otlp_endpoint" => "the value (not shown)".to_owned(),
                _ => format!("{text:?}"),
            };
            let start = format!("{key}: {shown} from --{} is not ", flag_name(key));
            assert!(
                problems.len() == 1 && problems[0].starts_with(&start),
                "{problems:?}"
            );
        }
    }
}

#[test]
fn integers_of_the_file_are_for_numbers_only() {
    let config = Machine::new()
        .file("threads = 0x10\nmax_body = 16_384\ngrace_ms = '5'")
        .config();
    assert_eq!((config.threads, config.max_body), (16, 16_384));
    assert_eq!(config.grace, Duration::from_millis(5));
    assert_eq!(
        Machine::new()
            .file("state = 5\nthreads = -1\nmax_in_flight = 1.5")
            .problems(),
        [
            "state: 5 from nanod.toml:1:9 is not a path",
            "threads: -1 from nanod.toml:2:11 is not an integer from 1 to 256",
            "max_in_flight: 1.5 from nanod.toml:3:17 is not an integer from 1 to 1048576",
        ]
    );
}

#[test]
fn one_thread_per_two_cores() {
    for (cores, threads) in [(0, 1), (1, 1), (3, 1), (4, 2), (4096, 256)] {
        assert_eq!(Machine::new().cores(cores).config().threads, threads);
    }
}

#[test]
fn state_defaults() {
    let machine = Machine::new().homeless();
    assert_eq!(machine.default_state(), None);
    let machine = machine.env("HOME", "/h");
    assert_eq!(
        machine.default_state(),
        Some("/h/.local/state/nanod".into())
    );
    let machine = machine.env("XDG_STATE_HOME", "relative");
    assert_eq!(
        machine.default_state(),
        Some("/h/.local/state/nanod".into())
    );
    let machine = machine.env("XDG_STATE_HOME", "/x");
    assert_eq!(machine.default_state(), Some("/x/nanod".into()));
    let machine = machine.env("STATE_DIRECTORY", "");
    assert_eq!(machine.default_state(), Some("/x/nanod".into()));
    let machine = machine.env("STATE_DIRECTORY", ":");
    assert_eq!(machine.default_state(), Some("/x/nanod".into()));
    let machine = machine.env("STATE_DIRECTORY", "/one:/two");
    assert_eq!(machine.default_state(), Some("/one".into()));
    assert_eq!(machine.config().state, Path::new("/one"));
}

#[test]
fn a_state_folder_is_asked_for_if_nothing_names_one() {
    let machine = Machine::new().homeless();
    assert_eq!(
        machine.problems(),
        [
            "state: no folder for it, as none of STATE_DIRECTORY, XDG_STATE_HOME and HOME is set; give --state"
        ]
    );
    assert_eq!(
        machine.env("NANO_STATE", "").problems(),
        ["state: \"\" from NANO_STATE is not a path"]
    );
    let machine = Machine::new().homeless().file("state = '/s'");
    assert_eq!(machine.config().state, Path::new("/s"));
}

#[test]
fn the_sample_shows_the_defaults() {
    let lines = SAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    let uncommented: Vec<&str> = lines.collect();
    let sample = Machine::new().homeless().file(&uncommented.join("\n"));
    let examples = Config {
        state: "/var/lib/nanod".into(),
        tls: Some("/etc/nanod/tls".into()),
        cluster_secret: Some(SecretSource::File("/etc/nanod/secret".into())),
        name: Some("node/one".parse().expect("a name")),
        rules: Some("/etc/nanod/rules.toml".into()),
        tokens: Some(TokenSource::File("/etc/nanod/tokens".into())),
        redis: Some(
            "rediss+sentinel://nanod@redis1.example.org,redis2.example.org,redis3.example.org/main"
                .parse()
                .expect("a URL"),
        ),
        redis_files: redis_files([
            "/etc/nanod/redis/ca.pem",
            "/etc/nanod/redis/cert.pem",
            "/etc/nanod/redis/key.pem",
            "/etc/nanod/redis/password",
            "/etc/nanod/redis/sentinel-password",
        ]),
        advertise: Some("node1.example.org:9999".to_owned()),
        ready_file: Some("/run/nanod/ready".into()),
        access_log: AccessLog {
            file: Some("/var/log/nanod/access.log".into()),
            ..AccessLog::default()
        },
        otlp: otlp("http://127.0.0.1:4318"),
        max_bytes: Some(1 << 30),
        ..Machine::new().config()
    };
    assert_eq!(sample.config(), examples);
    assert_eq!(
        Machine::new().file(SAMPLE).config(),
        Machine::new().config()
    );
}

#[test]
fn the_sample_and_the_help_name_every_setting() {
    for Setting {
        key, default, help, ..
    } in SETTINGS
    {
        assert!(
            SAMPLE.contains(&format!("\n#{key} = ")),
            "{key} is not in the sample"
        );
        assert!(!help.ends_with('.'), "{help}");
        let by_default = Machine::new().flag(key, default).resolve();
        let in_words = [
            "state",
            "tls",
            "cluster_secret_file",
            "name",
            "rules",
            "tokens_file",
            "redis",
            "redis_ca",
            "redis_cert",
            "redis_key",
            "redis_password_file",
            "redis_sentinel_password_file",
            "advertise",
            "threads",
            "ready_file",
            "access_log_file",
            "otlp_endpoint",
            "max_bytes",
        ];
        let in_words = in_words.contains(key);
        assert!(in_words || by_default.is_ok_and(|config| config == Machine::new().config()));
    }
}

#[test]
fn load_reads_the_named_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nanod.toml");
    fs::write(&path, "max_in_flight = 77\nstate = '/s'").expect("a file");
    let flags = |path: &Path| BTreeMap::from([(CONFIG, path.display().to_string())]);
    let config = Config::load(&flags(&path)).expect("a valid configuration");
    assert_eq!(config.max_in_flight, 77);

    let gone = folder.path().join("gone.toml");
    let mut flags = flags(&gone);
    flags.insert("threads", "0".to_owned());
    let errors = Config::load(&flags).expect_err("a missing file");
    let problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let unreadable = format!("config: {gone:?} from --config cannot be read: No such file");
    assert!(problems[0].starts_with(&unreadable), "{problems:?}");
    assert_eq!(
        problems[1],
        "threads: \"0\" from --threads is not an integer from 1 to 256"
    );
    assert_eq!(problems.len(), 2);
}

#[test]
fn an_empty_name_of_the_file_is_refused() {
    let flags = BTreeMap::from([(CONFIG, String::new()), ("state", "/s".to_owned())]);
    let errors = Config::load(&flags).expect_err("no path");
    assert!(
        errors
            .to_string()
            .contains("config: \"\" from --config is not a path"),
        "{errors}"
    );
}

#[test]
fn a_variable_may_name_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nanod.toml");
    fs::write(&path, "threads = 2").expect("a file");
    let env = |name: &str| (name == "NANO_CONFIG").then(|| path.clone().into_os_string());
    let file = read_file(&BTreeMap::new(), &env).expect("a file that can be read");
    assert_eq!(file, Some((path.clone(), "threads = 2".to_owned())));
    let file = read_file(&BTreeMap::new(), &|_| None).expect("no file, no error");
    assert_eq!(file, None);
}
