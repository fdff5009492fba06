//! Patterns that come, move and go in one order or another, at one node or several: the
//! table that results is the same at all.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_client::{Client, Service};
use nano_integration::{Cluster, Load, all_hear, ask, named, settled};
use serde_json::json;

/// Asks for subjects, whatever comes of it, so that a node that remembers answers would.
async fn ask_for(clients: &[Client], subjects: &[&str]) {
    for client in clients {
        for subject in subjects {
            let _ = ask(client, subject).await;
        }
    }
}

/// Callers through some nodes of a service that stays, of whom none may fail.
struct Bystanders {
    load: Vec<Load>,
    _service: Service,
}

impl Bystanders {
    async fn start(cluster: &Cluster, clients: &[Client]) -> Self {
        let service = named("stays:1", "stays")
            .start(cluster.at(0))
            .await
            .unwrap();
        all_hear(clients, "stays:1", Some("stays")).await;
        let load = clients.iter();
        Self {
            load: load.map(|it| Load::paced(it, "stays:1", 1)).collect(),
            _service: service,
        }
    }

    async fn end(self) {
        for load in self.load {
            load.runs(10).await;
            assert_eq!(load.end().await, []);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_pattern_wins_in_every_order_at_any_nodes() {
    let cluster = Cluster::start(3).await;
    let clients = cluster.clients().await;
    let bystanders = Bystanders::start(&cluster, &clients).await;
    let mut number = 0;
    for general_is_first in [true, false] {
        for (general_at, specific_at) in [(0, 0), (0, 1), (1, 0), (2, 1)] {
            for general_goes_first in [true, false] {
                number += 1;
                let general = format!("case:{number}");
                let (specific, other) = (format!("{general},b:2"), format!("{general},c:3"));
                let subjects = [&*general, &*specific, &*other];
                ask_for(&clients, &subjects).await;
                let at_general = named(&general, "general");
                let at_specific = named(&specific, "specific");
                let (at_general, at_specific) = if general_is_first {
                    let at_general = at_general.start(cluster.at(general_at)).await.unwrap();
                    all_hear(&clients, &specific, Some("general")).await;
                    let at_specific = at_specific.start(cluster.at(specific_at)).await;
                    (at_general, at_specific.unwrap())
                } else {
                    let at_specific = at_specific.start(cluster.at(specific_at)).await.unwrap();
                    all_hear(&clients, &specific, Some("specific")).await;
                    all_hear(&clients, &general, None).await;
                    let at_general = at_general.start(cluster.at(general_at)).await;
                    (at_general.unwrap(), at_specific)
                };
                let both = [
                    (&*general, Some("general")),
                    (&*other, Some("general")),
                    (&*specific, Some("specific")),
                ];
                settled(&clients, &both).await;
                if general_goes_first {
                    at_general.drain().await;
                    let left = [
                        (&*general, None),
                        (&*other, None),
                        (&*specific, Some("specific")),
                    ];
                    settled(&clients, &left).await;
                    at_specific.drain().await;
                } else {
                    at_specific.drain().await;
                    settled(&clients, &subjects.map(|it| (it, Some("general")))).await;
                    at_general.drain().await;
                }
                settled(&clients, &subjects.map(|it| (it, None))).await;
            }
        }
    }
    bystanders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_compared_whole_however_often_a_neighbour_was_asked_for() {
    let cluster = Cluster::start(2).await;
    let clients = cluster.clients().await;
    let bystanders = Bystanders::start(&cluster, &clients).await;
    let sum = named("role:math,cmd:sum", "sum");
    let _sum = sum.start(cluster.at(0)).await.unwrap();
    let summary = "role:math,cmd:summary";
    for _ in 0..3 {
        all_hear(&clients, "role:math,cmd:sum,left:1", Some("sum")).await;
        all_hear(&clients, summary, None).await;
    }
    let _summary = named(summary, "summary")
        .start(cluster.at(1))
        .await
        .unwrap();
    all_hear(&clients, summary, Some("summary")).await;
    all_hear(&clients, "role:math,cmd:sum", Some("sum")).await;
    bystanders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_asked_for_the_general_pattern_first_after_its_start_knows_the_specific() {
    let mut cluster = Cluster::start(3).await;
    let bystanders = Bystanders::start(&cluster, &cluster.clients().await[..2]).await;
    let general = named("role:math,cmd:sum", "sum");
    let _general = general.start(cluster.at(0)).await.unwrap();
    let specific = named("role:math,cmd:sum,return:zero", "zero");
    let _specific = specific.start(cluster.at(1)).await.unwrap();
    let table = [
        ("role:math,cmd:sum", Some("sum")),
        ("role:math,cmd:sum,return:one", Some("sum")),
        ("role:math,cmd:sum,return:zero", Some("zero")),
    ];
    settled(&cluster.clients().await, &table).await;
    for _ in 0..2 {
        cluster.nodes[2].process.kill().await;
        cluster.start_again(2).await;
        let client = [cluster.client(2).await];
        settled(&client, &table).await;
        for (subject, name) in table {
            assert_eq!(ask(&client[0], subject).await.ok().as_deref(), name);
        }
    }
    // Others that come after it was asked for what they are part of.
    let later = named("role:math,cmd:sum,return:one", "one");
    let _later = later.start(cluster.at(0)).await.unwrap();
    let table = [
        table[0],
        ("role:math,cmd:sum,return:one", Some("one")),
        table[2],
    ];
    settled(&cluster.clients().await, &table).await;
    bystanders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_is_called_where_it_is_while_its_old_address_lives() {
    let cluster = Cluster::start(3).await;
    let clients = cluster.clients().await;
    let mut serves = named("a:1", "0").start(cluster.at(0)).await.unwrap();
    // The process at the old address lives on, with another pattern.
    let mut stays = Vec::new();
    all_hear(&clients, "a:1", Some("0")).await;
    let load: Vec<_> = clients
        .iter()
        .map(|client| Load::start(client, 1, &json!({})))
        .collect();
    for turn in 1..=6 {
        let name = turn.to_string();
        let next = named("a:1", &name).start(cluster.at(turn % 3)).await;
        let other = named(&format!("other:{turn}"), &name);
        stays.push(other.start(cluster.at((turn - 1) % 3)).await.unwrap());
        // An acknowledged registration is known to its node; others hear of it.
        all_hear(&clients, "a:1", Some(&name)).await;
        serves.drain().await;
        serves = next.unwrap();
        for client in &clients {
            for _ in 0..20 {
                assert_eq!(ask(client, "a:1").await.unwrap(), name);
            }
        }
    }
    for load in load {
        assert_eq!(load.end().await, []);
    }
    serves.drain().await;
    all_hear(&clients, "a:1", None).await;
    for turn in 1..=6 {
        let name = turn.to_string();
        all_hear(&clients, &format!("other:{turn}"), Some(&name)).await;
    }
}
