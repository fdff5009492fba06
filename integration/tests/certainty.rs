//! What callers are told of calls whose instance is killed, at each stage of a call: exactly as
//! far as it got. The handlers note that they run in a file for each call, which outlives their
//! process, and another instance is there to show if one is tried again that may have run.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{Certainty, Client, Pick, RetryLimits};
use nano_integration::{Node, NotedCall, Notes, ServiceProcess, UdpProxy, all_note, until, warm};
use serde_json::{Value, json};

/// Calls in flight at a stage.
const CALLS: usize = 100;

/// Bytes of a call beside those that it needs.
const SMALL: usize = 0;
/// So many fill the windows of all lanes.
const FILLING: usize = 16_000;
/// A body of so many has a stream of its own.
const LARGE: usize = 100_000;

/// How the calls go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Direct,
    ByNode,
}

/// A service that is about to die, and a client that calls it.
struct Scene {
    path: Path,
    node: Node,
    dying: ServiceProcess,
    /// How the calls get to it.
    way: UdpProxy,
    client: Client,
    notes: Notes,
}

impl Scene {
    /// With a client that tries so many calls again as the limits say.
    async fn set(path: Path, retry: RetryLimits) -> Self {
        let node = Node::start().await;
        let way = UdpProxy::start().await;
        let dying = node.service("dying").pattern("a:1");
        let dying = match path {
            Path::Direct => dying.advertise(way.address()),
            Path::ByNode => {
                way.lead_to(node.quic);
                dying.by_way_of(way.address())
            }
        };
        let dying = dying.start().await;
        let mut options = node.options().direct(path == Path::Direct);
        options.retry = retry;
        let client = Client::connect(options).await.unwrap();
        let scene = Self {
            path,
            node,
            dying,
            way,
            client,
            notes: Notes::new(),
        };
        scene.hears("dying").await;
        if path == Path::Direct {
            scene.way.lead_to(scene.dying.address());
            warm(&scene.client, "a:1", 1).await;
        }
        scene
    }

    /// Waits until a call is answered by the service of this name.
    async fn hears(&self, name: &str) {
        let hasty = self.client.with_timeout(Duration::from_secs(1));
        until(&format!("an answer of {name}"), async || {
            let answer: Value = hasty.act("a:1", &json!({"Do": "name"})).await.ok()?;
            (answer["Name"] == name).then_some(())
        })
        .await;
    }

    /// Waits until so many calls have been given to the connection with the service, unless it
    /// was silent for too long by then.
    async fn have_been_given(&self, calls: usize) {
        until("the calls to have been given to it", async || {
            let (in_flight, pick) = self.standing().await;
            (in_flight as usize >= calls || pick == Pick::Silent).then_some(())
        })
        .await;
    }

    /// Waits until nothing was heard of it for long, so that what was to leave has left.
    async fn is_silent(&self) {
        until("it to be silent", async || {
            (self.standing().await.1 == Pick::Silent).then_some(())
        })
        .await;
    }

    /// Calls in flight of the service that is about to die, and how it stands to the next one.
    async fn standing(&self) -> (u32, Pick) {
        let explanation = self.client.explain("a:1").await.unwrap();
        let id = &self.dying.instance;
        let standing = match self.path {
            Path::Direct => {
                let mut listed = explanation.own.unwrap().listed.into_iter();
                listed
                    .find(|it| it.instance.to_string() == *id)
                    .map(|it| (it.in_flight, it.pick))
            }
            Path::ByNode => {
                let winner = explanation.node.unwrap().winner.unwrap();
                let mut listed = winner.listed.into_iter();
                listed
                    .find(|it| it.instance.to_string() == *id)
                    .map(|it| (it.in_flight, it.pick))
            }
        };
        standing.unwrap()
    }

    /// Kills it where another one is known that would take its calls.
    async fn kill(&mut self) -> ServiceProcess {
        let other = self.node.service("other").pattern("a:1").start().await;
        self.hears("other").await;
        self.dying.process.kill().await;
        other
    }
}

/// As many retries as anyone could want.
const PLENTY: RetryLimits = RetryLimits {
    percent: 1_000,
    per_second: 10_000,
};

/// None but those that cost nothing.
const NONE: RetryLimits = RetryLimits {
    percent: 0,
    per_second: 0,
};

/// Calls that fill the windows of the connection, and calls that wait behind them.
async fn placed_behind_others(scene: &Scene) -> (Vec<NotedCall>, Vec<NotedCall>) {
    scene.dying.frozen().await;
    let first = scene.notes.place(&scene.client, CALLS, FILLING).await;
    let waiting = scene.notes.place(&scene.client, CALLS, SMALL).await;
    scene.have_been_given(2 * CALLS).await;
    (first, waiting)
}

async fn killed_before_sending(path: Path) {
    let mut scene = Scene::set(path, NONE).await;
    let (first, waiting) = placed_behind_others(&scene).await;
    let _other = scene.kill().await;
    for call in waiting {
        call.has_failed(Certainty::NotSent, &[]).await;
    }
    let mut left = 0;
    for mut call in first {
        let failure = call.outcome().await.unwrap_err();
        assert_eq!(call.notes(), [""; 0], "{failure}");
        left += usize::from(failure.certainty == Certainty::MaybeExecuted);
    }
    assert!(left < CALLS, "{left}");
}

/// What has not left is given to another, once.
async fn killed_before_sending_and_tried_again(path: Path) {
    let mut scene = Scene::set(path, PLENTY).await;
    let (first, waiting) = placed_behind_others(&scene).await;
    let _other = scene.kill().await;
    scene.notes.give_word();
    assert!(done_by_other(waiting, Certainty::NotSent).await > 0);
    done_by_other(first, Certainty::MaybeExecuted).await;
}

/// How many of these calls another one has answered. The others have failed, no further than
/// this, and nobody has run them.
async fn done_by_other(calls: Vec<NotedCall>, furthest: Certainty) -> usize {
    let mut done = 0;
    for mut call in calls {
        match call.outcome().await {
            Ok(_) => {
                assert_eq!(call.notes(), ["other", "other has ended"]);
                done += 1;
            }
            Err(failure) => {
                let certainty = failure.certainty;
                assert!(
                    [Certainty::NotSent, furthest].contains(&certainty),
                    "{failure}"
                );
                assert_eq!(call.notes(), [""; 0], "{failure}");
            }
        }
    }
    done
}

async fn killed_before_reading(path: Path) {
    let mut scene = Scene::set(path, PLENTY).await;
    scene.dying.frozen().await;
    let calls = scene.notes.place(&scene.client, CALLS, SMALL).await;
    scene.have_been_given(CALLS).await;
    scene.is_silent().await;
    let _other = scene.kill().await;
    for call in calls {
        call.has_failed(Certainty::MaybeExecuted, &[]).await;
    }
}

async fn killed_in_the_handler(path: Path, size: usize) {
    let mut scene = Scene::set(path, PLENTY).await;
    let calls = scene.notes.place(&scene.client, CALLS, size).await;
    all_note(&calls, &["dying"]).await;
    let _other = scene.kill().await;
    for call in calls {
        call.has_failed(Certainty::MaybeExecuted, &["dying"]).await;
    }
}

async fn killed_with_answers_on_their_way(path: Path) {
    let mut scene = Scene::set(path, PLENTY).await;
    let calls = scene.notes.place(&scene.client, CALLS, SMALL).await;
    all_note(&calls, &["dying"]).await;
    scene.way.cut(true);
    scene.notes.give_word();
    all_note(&calls, &["dying", "dying has ended"]).await;
    let _other = scene.kill().await;
    for call in calls {
        let notes = ["dying", "dying has ended"];
        call.has_failed(Certainty::MaybeExecuted, &notes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_not_left_was_not_sent() {
    killed_before_sending(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_not_left_the_node_was_not_sent() {
    killed_before_sending(Path::ByNode).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_not_left_is_given_to_another_once() {
    killed_before_sending_and_tried_again(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_not_left_the_node_is_given_to_another_once() {
    killed_before_sending_and_tried_again(Path::ByNode).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_left_and_was_not_read_may_have_run() {
    killed_before_reading(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_left_the_node_and_was_not_read_may_have_run() {
    killed_before_reading(Path::ByNode).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_may_have_run_and_did_so_once() {
    killed_in_the_handler(Path::Direct, SMALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_with_a_large_body_may_have_run_and_did_so_once() {
    killed_in_the_handler(Path::Direct, LARGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_by_the_node_may_have_run_and_did_so_once() {
    killed_in_the_handler(Path::ByNode, SMALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_by_the_node_with_a_large_body_may_have_run_and_did_so_once() {
    killed_in_the_handler(Path::ByNode, LARGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_in_vain_may_have_run_and_did_so_once() {
    killed_with_answers_on_their_way(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_to_the_node_in_vain_may_have_run_and_did_so_once() {
    killed_with_answers_on_their_way(Path::ByNode).await;
}
