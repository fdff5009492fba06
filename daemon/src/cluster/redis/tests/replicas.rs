//! Three replicas on a server that is wiped, frozen and made read-only.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use nano_routing::Pattern;
use nano_wire::InstanceId;
use tokio::sync::{mpsc, oneshot};

use super::{
    super::super::{
        Boot, Identity, Input, Key, Kind, Record, Replica, Restored, Settings, Standing,
    },
    super::RedisTls,
    server::{Server, redis},
};

const SETTINGS: Settings = Settings {
    redis: true,
    beat: Duration::from_millis(200),
    hurry: Duration::from_millis(50),
    lease: Duration::from_secs(2),
    grace: Duration::from_secs(1),
    dial: Duration::from_millis(500),
    outage: Duration::from_secs(1),
    patience: Duration::from_millis(100),
    batch: 500,
};

/// How long the replicas may take until they agree.
const PATIENCE: Duration = Duration::from_secs(20);

/// A replica with its connection. It ends when it is dropped.
struct Node {
    inputs: mpsc::Sender<Input>,
    questions: mpsc::Sender<oneshot::Sender<(BTreeSet<Key>, Standing)>>,
}

impl Node {
    fn start(server: &Server, number: u8) -> Self {
        let redis = Arc::new(redis(&server.url(), RedisTls::default()));
        let (inputs, received) = mpsc::channel(1024);
        let (questions, asked) = mpsc::channel(16);
        let (commands, queue) = mpsc::channel(1024);
        tokio::spawn(redis.run(queue, inputs.clone()));
        let identity = Identity {
            boot: Boot([number; 16]),
            node: InstanceId([number; 16]),
            address: number.to_string(),
            authority: [1; 32],
        };
        let seed = number.into();
        let replica = Replica::new(
            Duration::ZERO,
            identity,
            SETTINGS,
            Restored::default(),
            seed,
        );
        tokio::spawn(drive(replica, received, asked, commands));
        Self { inputs, questions }
    }

    async fn put(&self, keys: impl Iterator<Item = Key>) {
        let record = |key| (key, Some(record()));
        let local = Input::Local(keys.map(record).collect());
        assert!(self.inputs.send(local).await.is_ok(), "it runs");
    }

    async fn remove(&self, keys: impl Iterator<Item = Key>) {
        let local = Input::Local(keys.map(|key| (key, None)).collect());
        assert!(self.inputs.send(local).await.is_ok(), "it runs");
    }

    async fn table(&self) -> (BTreeSet<Key>, Standing) {
        let (answer, answered) = oneshot::channel();
        assert!(self.questions.send(answer).await.is_ok(), "it runs");
        answered.await.expect("it answers")
    }
}

async fn drive(
    mut replica: Replica,
    mut inputs: mpsc::Receiver<Input>,
    mut questions: mpsc::Receiver<oneshot::Sender<(BTreeSet<Key>, Standing)>>,
    commands: mpsc::Sender<(super::super::Ticket, super::super::Command)>,
) {
    let begin = Instant::now();
    loop {
        let wake = replica.next_wake().unwrap_or(Duration::MAX);
        let wait = wake
            .saturating_sub(begin.elapsed())
            .min(Duration::from_secs(1));
        let input = tokio::select! {
            question = questions.recv() => {
                let Some(question) = question else {
                    return;
                };
                let keys = replica.view().iter().map(|(key, _)| key.clone()).collect();
                let _ = question.send((keys, replica.standing()));
                continue;
            }
            Some(input) = inputs.recv() => input,
            () = tokio::time::sleep(wait) => Input::Tick,
        };
        let output = replica.handle(begin.elapsed(), input);
        for command in output.commands {
            assert!(commands.send(command).await.is_ok(), "it is read");
        }
        assert_eq!(output.dials, [], "nobody was silent for so long");
    }
}

fn record() -> Record {
    Record {
        incarnation: 1,
        kind: Kind::Session,
        payload: [0; 100].as_slice().into(),
    }
}

fn keys(node: u8, numbers: std::ops::Range<u32>) -> impl Iterator<Item = Key> {
    numbers.map(move |number| Key {
        pattern: Pattern::parse(&format!("n:{number}")).expect("a pattern"),
        instance: InstanceId([node; 16]),
    })
}

async fn agree(nodes: &[Node], expected: &BTreeSet<Key>) {
    let begin = Instant::now();
    for (number, node) in nodes.iter().enumerate() {
        loop {
            let (table, standing) = node.table().await;
            if table == *expected && standing.is_in_step() {
                break;
            }
            let late = begin.elapsed() > PATIENCE;
            assert!(
                !late,
                "{number} has {} of {}: {standing:?}",
                table.len(),
                expected.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn replicas_agree_whatever_becomes_of_the_server() {
    let server = Server::start(&[]).await;
    let nodes: Vec<Node> = (1..=3).map(|number| Node::start(&server, number)).collect();
    let mut expected = BTreeSet::new();
    for (node, number) in nodes.iter().zip(1..) {
        node.put(keys(number, 0..1200)).await;
        expected.extend(keys(number, 0..1200));
    }
    agree(&nodes, &expected).await;

    server.order(&["FLUSHALL"]).await;
    nodes[0].put(keys(1, 1200..1300)).await;
    expected.extend(keys(1, 1200..1300));
    agree(&nodes, &expected).await;

    server.freeze(true);
    nodes[1].remove(keys(2, 0..600)).await;
    let removed: BTreeSet<Key> = keys(2, 0..600).collect();
    expected.retain(|key| !removed.contains(key));
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.freeze(false);
    agree(&nodes, &expected).await;

    server.order(&["REPLICAOF", "127.0.0.1", "1"]).await;
    nodes[2].put(keys(3, 1200..1300)).await;
    expected.extend(keys(3, 1200..1300));
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.order(&["REPLICAOF", "NO", "ONE"]).await;
    agree(&nodes, &expected).await;
}
