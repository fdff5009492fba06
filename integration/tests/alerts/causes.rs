//! What has each alert fire: nodes that die, services that fail, networks that lose, disks that are
//! full, and so on. Each cause lasts until its alerts fire.

use std::{convert::Infallible, time::Duration};

use futures_util::future::join_all;
use nano_client::{Client, Options, Service};
use nano_integration::{Authority, Node, Registrar, Sample, until};
use redis::{Value as Answer, cmd};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, time::sleep};

use crate::scene::{Scene, through};

/// Causes everything at the same time, and waits until all has fired.
pub(crate) async fn cause_all(scene: &Scene) {
    tokio::join!(
        node_that_dies(scene),
        node_that_does_not_come_to_stop(scene),
        calls_that_fail(scene),
        service_that_goes(scene),
        instance_that_panics(scene),
        node_without_room(scene),
        strangers(scene),
        large_bodies(scene),
        slow_disk(scene),
        node_without_processor(scene),
        lossy_network(scene),
        redis_that_stops(scene),
        scene.fires("NanodRedisForeign", "instance", "foreign"),
        certificates_that_end(scene),
    );
}

/// Does something until something else has happened.
async fn meanwhile(forever: impl Future<Output = Infallible>, wait: impl Future<Output = ()>) {
    tokio::select! {
        () = wait => {}
        never = forever => match never {},
    }
}

/// So many callers that send a message again and again with a pause, whatever comes of it.
async fn call(
    client: &Client,
    subject: &str,
    message: Value,
    callers: usize,
    pause: u64,
) -> Infallible {
    let callers = (0..callers).map(async |_| -> Infallible {
        loop {
            let _ = client.act::<_, Value>(subject, &message).await;
            sleep(Duration::from_millis(pause)).await;
        }
    });
    join_all(callers).await.remove(0)
}

/// A caller over HTTP that gives no call the time that it takes.
async fn call_in_haste(node: &Node, subject: &str) -> Infallible {
    let message = json!({"Pattern": subject, "Do": "hold"});
    loop {
        let response = node
            .http()
            .post_with(&message, "Nano-Timeout-Ms: 50\r\n")
            .await;
        assert_eq!(response.header("nano-certainty"), Some("maybe_executed"));
    }
}

async fn node_that_dies(scene: &Scene) {
    let mut node = scene.fragile.lock().take().unwrap();
    let started = async || {
        let query = "process_start_time_seconds{instance=\"fragile\"}";
        let samples = scene.prometheus.query(query).await.unwrap();
        samples.first().map(Sample::value)
    };
    for _ in 0..3 {
        let before = until("the node to be scraped", &started).await;
        node.process.kill().await;
        node = node.start_again().await;
        until("the node to be scraped again", async || {
            (started().await? > before).then_some(())
        })
        .await;
    }
    scene.fires("NanodRestarts", "instance", "fragile").await;
    node.process.kill().await;
    scene.fires("NanodDown", "instance", "fragile").await;
}

async fn node_that_does_not_come_to_stop(scene: &Scene) {
    let node = &scene.leaving;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = through(node).await;
    let held = call(&client, "a:1", json!({"Do": "hold"}), 1, 0);
    let stop = async {
        scene
            .shows("nanod_calls_in_flight{instance=\"leaving\"} == 1")
            .await;
        node.process.signal(Signal::TERM);
        scene.fires("NanodNotReady", "instance", "leaving").await;
    };
    meanwhile(held, stop).await
}

/// Handlers that fail, that are slow, and that do not answer in time.
async fn calls_that_fail(scene: &Scene) {
    let node = &scene.busy;
    let service = node
        .service("one")
        .pattern("fails:1")
        .pattern("slow:1")
        .pattern("late:1");
    let _service = service.start().await;
    let client = through(node).await;
    let (fail, sleep) = (json!({"Do": "fail"}), json!({"Do": "sleep", "Ms": 1_500}));
    let calls = async {
        tokio::join!(
            call(&client, "fails:1", fail, 2, 50),
            call(&client, "slow:1", sleep, 8, 0),
            call_in_haste(node, "late:1"),
        )
        .0
    };
    let alerts = async {
        scene.fires("NanodHandlersFail", "pattern", "fails:1").await;
        scene.fires("NanodLatencyHigh", "pattern", "slow:1").await;
        scene
            .fires("NanodCallsMaybeExecuted", "pattern", "late:1")
            .await;
        scene
            .fires("NanodErrorBudgetBurnsFast", "job", "nanod")
            .await;
        scene
            .fires("NanodErrorBudgetBurnsSlowly", "job", "nanod")
            .await;
    };
    meanwhile(calls, alerts).await
}

/// The only instance of a pattern dies with calls in flight, the first of the pattern that fail.
async fn service_that_goes(scene: &Scene) {
    let node = &scene.busy;
    let mut service = node.service("gone").pattern("gone:1").start().await;
    let client = through(node).await;
    let answer: Value = client.act("gone:1", &json!({"Do": "name"})).await.unwrap();
    assert_eq!(answer["Name"], "gone");
    let held = call(&client, "gone:1", json!({"Do": "hold"}), 10, 100);
    let alerts = async {
        let in_flight = "nanod_pattern_calls_in_flight{pattern=\"gone:1\"} == 10";
        scene.shows(in_flight).await;
        service.process.kill().await;
        tokio::join!(
            scene.fires("NanodCallsMaybeExecuted", "pattern", "gone:1"),
            scene.fires("NanodPatternUnserved", "pattern", "gone:1"),
            scene.fires("NanodPatternsUnserved", "instance", "busy"),
        );
    };
    meanwhile(held, alerts).await;
}

async fn instance_that_panics(scene: &Scene) {
    let node = &scene.busy;
    let _sound = node.service("sound").pattern("half:1").start().await;
    let _mad = node.service("mad").pattern("half:1").panics().start().await;
    let client = through(node).await;
    let calls = call(&client, "half:1", json!({"Do": "name"}), 2, 20);
    let alert = scene.fires("NanodInstancesEjected", "instance", "busy");
    meanwhile(calls, alert).await;
}

/// In flight are most of the calls that it takes; and its disk takes no more.
async fn node_without_room(scene: &Scene) {
    let node = &scene.cramped;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = through(node).await;
    let held = call(&client, "a:1", json!({"Do": "hold"}), 9, 0);
    let alert = scene.fires("NanodQuotaNearlyFull", "instance", "cramped");
    meanwhile(held, alert).await;
    node.set_read_only(true).await;
    let registrations = async {
        loop {
            let builder = Service::builder().on("late:1", |_, _: Value| async { Ok(()) });
            let options = node.options().connect_timeout(Duration::from_millis(500));
            let refused = builder.start(options).await;
            assert!(refused.is_err(), "the disk is read-only, and no one minds");
        }
    };
    let alert = scene.fires("NanodStoreFails", "instance", "cramped");
    meanwhile(registrations, alert).await;
}

/// Clients of another authority, at a node that may open few files more.
async fn strangers(scene: &Scene) {
    let node = &scene.refusing;
    let open = node.process.open_files() as u64;
    node.process.limit_open_files(open + open / 8 + 1);
    let authority = Authority::new();
    let come = async {
        loop {
            let options = Options::default()
                .node(node.quic)
                .tls(authority.folder("client"));
            let options = options.connect_timeout(Duration::from_millis(200));
            assert!(Client::connect(options).await.is_err());
        }
    };
    let alert = scene.fires("NanodConnectionsRefused", "instance", "refusing");
    meanwhile(come, alert).await;
    scene
        .fires("NanodDescriptorsNearLimit", "instance", "refusing")
        .await;
}

/// Bodies that are as large as they may be, and of which the last byte does not come.
async fn large_bodies(scene: &Scene) {
    let node = &scene.large;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777216\r\n\r\n";
    let request = head.to_owned() + &" ".repeat((16 << 20) - 1);
    let send = async |_| -> Infallible {
        loop {
            let mut stream = node.http().open(&request).await;
            // What comes too slowly is refused in the end.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    };
    let senders = async { join_all((0..24).map(send)).await.remove(0) };
    let alert = scene.fires("NanodMemoryHigh", "instance", "large");
    meanwhile(senders, alert).await;
}

/// Registrations that come faster than the disk takes them: each session has as many under way as a node allows
/// one, and together they have more than are committed at once and then wait.
async fn slow_disk(scene: &Scene) {
    let node = &scene.slow;
    let register = async |of| -> Infallible {
        let registrar = Registrar::connect(node).await.ahead(256);
        registrar.register_until_the_end(format!("of{of}")).await;
        panic!("the node is gone");
    };
    let registrars = async { join_all((0..12).map(register)).await.remove(0) };
    let alert = scene.fires("NanodQueueNearlyFull", "instance", "slow");
    meanwhile(registrars, alert).await;
}

/// A node that is stopped again and again as if others had the processor, and each time finds its
/// timers late. Between, it is let go on for long enough to be scraped.
async fn node_without_processor(scene: &Scene) {
    let node = &scene.starved;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = through(node).await;
    let calls = call(&client, "a:1", json!({"Do": "name"}), 8, 0);
    let starve = async {
        loop {
            for _ in 0..8 {
                node.process.signal(Signal::STOP);
                sleep(Duration::from_millis(200)).await;
                node.process.signal(Signal::CONT);
                sleep(Duration::from_millis(5)).await;
            }
            sleep(Duration::from_millis(1_500)).await;
        }
    };
    let both = async { tokio::join!(calls, starve).0 };
    let alert = scene.fires("NanodCallsShed", "instance", "starved");
    meanwhile(both, alert).await;
    node.process.signal(Signal::CONT);
}

async fn lossy_network(scene: &Scene) {
    let (node, way) = &scene.lossy;
    let _service = node.service("one").pattern("a:1").start().await;
    let options = Options::default().node(way.address()).state(node.state());
    let client = Client::connect(options.direct(false)).await.unwrap();
    way.lose_one_of(Some(4));
    let large = json!({"Do": "grow", "Bytes": 50_000});
    let calls = call(&client, "a:1", large, 8, 0);
    let alert = scene.fires("NanodDatagramsLost", "instance", "lossy");
    meanwhile(calls, alert).await;
}

/// A Redis whose rules let nodes remove no routes, then one that stands still, then a node that is not
/// heard of.
async fn redis_that_stops(scene: &Scene) {
    let users_may = async |rule: &str| {
        let mut command = cmd("ACL");
        command.arg(&["SETUSER", "default", rule]);
        scene.redis.ask::<Answer>(&command).await;
    };
    let builder = Service::builder().on("shared:1", |_, _: Value| async { Ok(()) });
    let service = builder.start(scene.options_of_cluster(0)).await.unwrap();
    let in_step = "nanod_redis_in_step{instance=\"one\"} == 1 and nanod_patterns == 1";
    scene.shows(in_step).await;
    users_may("-hdel").await;
    service.drain().await;
    scene.fires("NanodNotReplicated", "instance", "one").await;
    scene.fires("NanodNotInStep", "instance", "one").await;
    users_may("+hdel").await;
    scene.redis.freeze(true);
    scene.fires("NanodRedisAway", "instance", "one").await;
    scene.redis.freeze(false);
    scene.pair[1].process.signal(Signal::STOP);
    scene.fires("NanodNodesSuspect", "instance", "one").await;
    scene.pair[1].process.signal(Signal::KILL);
}

/// One of an hour, and by hand one of three days, with the list of those that are revoked.
async fn certificates_that_end(scene: &Scene) {
    scene
        .fires("NanodCertificateExpires", "instance", "lossy")
        .await;
    scene
        .fires("NanodCertificateExpiresSoon", "instance", "handmade")
        .await;
    scene
        .fires("NanodRevocationsExpire", "instance", "handmade")
        .await;
}
