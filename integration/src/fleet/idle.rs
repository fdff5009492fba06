//! What a session costs a node while nothing is asked of it: a number of sessions comes in, the node's
//! memory and processor time go out, before any call, after one by each, and once all have gone.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nano_client::{Client, Service};
use nano_integration::Node;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Result;

/// Sessions that are begun, or call, at a time.
const TOGETHER: usize = 100;

/// Longest wait for a session, or an answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(sessions: usize, seconds: u64) -> Result<()> {
    let node = Node::builder().threads(1).start().await;
    let answer = |_, _: Value| async { Ok(json!({})) };
    let service = Service::builder().on("a:1", answer);
    let _service = service.start(node.options()).await?;
    let look = async |what: &str, before: u64| {
        let (processor, begun) = (node.process.processor_time(), Instant::now());
        sleep(Duration::from_secs(seconds)).await;
        let share = (node.process.processor_time() - processor).div_duration_f64(begun.elapsed());
        let memory = node.process.memory();
        let each = memory.saturating_sub(before) as f64 / 1e3 / sessions as f64;
        println!(
            "{what:<22} {:>6.0} MB {each:>8.1} kB {:>8.2} %",
            memory as f64 / 1e6,
            share * 100.0
        );
        memory
    };
    println!(
        "{:<22} {:>9} {:>11} {:>10}",
        "", "MEMORY", "A SESSION", "OF A CORE"
    );
    let before = look("none", u64::MAX).await;
    let mut clients = Vec::new();
    while clients.len() < sessions {
        let some = TOGETHER.min(sessions - clients.len());
        let options = node.options().direct(false).connect_timeout(PATIENCE);
        let begun = (0..some).map(|_| Client::connect(options.clone()));
        for client in join_all(begun).await {
            clients.push(client?.with_timeout(PATIENCE));
        }
    }
    look("connected", before).await;
    call(&clients).await?;
    look("after a call of each", before).await;
    while !clients.is_empty() {
        let some = clients.drain(..TOGETHER.min(clients.len()));
        join_all(some.map(Client::close)).await;
    }
    look("after they have gone", before).await;
    Ok(())
}

async fn call(clients: &[Client]) -> Result<()> {
    let nothing = json!({});
    for some in clients.chunks(TOGETHER) {
        let calls = some
            .iter()
            .map(|client| client.act::<_, Value>("a:1", &nothing));
        for answer in join_all(calls).await {
            answer?;
        }
    }
    Ok(())
}
