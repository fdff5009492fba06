//! A node on a copy of the state of one that runs, as a cloned machine is: it is said, and
//! neither takes the other's routes for its own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_integration::{Cluster, Load, named, settled};

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_state_folder_is_said_and_costs_no_route() {
    let mut cluster = Cluster::apart(2).await;
    let mut clients = cluster.clients().await;
    let _a = named("a:1", "a").start(cluster.at(0)).await.unwrap();
    let leaves = named("leaves:1", "leaves")
        .start(cluster.at(0))
        .await
        .unwrap();
    let _b = named("b:1", "b").start(cluster.at(1)).await.unwrap();
    let table = [
        ("a:1", Some("a")),
        ("leaves:1", Some("leaves")),
        ("b:1", Some("b")),
    ];
    settled(&clients, &table).await;
    let load: Vec<_> = clients
        .iter()
        .map(|client| Load::paced(client, "a:1", 2))
        .collect();
    cluster.add_copy_of(0).await;
    let said = "its state folder was copied";
    cluster.nodes[2].process.says(said).await;
    clients.push(cluster.client(2).await);
    settled(&clients, &table).await;
    // Past the grace of what the copy remembers of the one it was copied from.
    leaves.drain().await;
    let _c = named("c:1", "c").start(cluster.at(2)).await.unwrap();
    let table = [
        ("a:1", Some("a")),
        ("leaves:1", None),
        ("b:1", Some("b")),
        ("c:1", Some("c")),
    ];
    settled(&clients, &table).await;
    for load in load {
        load.runs(1_000).await;
        assert_eq!(load.end().await, []);
    }
    settled(&clients, &table).await;
}
