//! How soon many sessions are at another node once theirs has died.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use nano_client::{Client, Options, Service};
use nano_integration::Cluster;
use serde_json::{Value, json};
use tokio::{runtime::Builder, sync::oneshot, task::JoinHandle, time::sleep};

use crate::Result;

/// Sessions that are begun at a time.
const TOGETHER: usize = 100;

/// Between two calls of the one who stays.
const PACE: Duration = Duration::from_millis(10);

pub(crate) async fn run(sessions: usize) -> Result<()> {
    let mut cluster = Cluster::start(3).await;
    serve(cluster.at(2)).await?;
    // The second one is not there yet: all can only begin at the first.
    let options = cluster.any_of(&[0, 1]).direct(false);
    let options = options.connect_timeout(Duration::from_secs(60));
    cluster.nodes[1].process.terminate().await;
    let mut clients = Vec::new();
    while clients.len() < sessions {
        let some = TOGETHER.min(sessions - clients.len());
        let begun = (0..some).map(|_| Client::connect(options.clone()));
        for client in join_all(begun).await {
            clients.push(client?.with_timeout(Duration::from_secs(60)));
        }
    }
    cluster.start_again(1).await;
    let stays = cluster.at(2);
    let quiet = watch(stays.clone(), Duration::from_secs(3)).await??;
    let watching = watch(stays, Duration::from_secs(30));
    cluster.nodes[0].process.kill().await;
    let killed = Instant::now();
    let mut back = Histogram::<u64>::new(3)?;
    let answered = clients.iter().map(async |client| {
        let mut failures = 0;
        while client.act::<_, Value>("a:1", &json!({})).await.is_err() {
            failures += 1;
            sleep(Duration::from_millis(100)).await;
        }
        (killed.elapsed(), failures)
    });
    for (took, _) in join_all(answered).await {
        back.record(took.as_millis() as u64)?;
    }
    let storm = watching.await??;
    println!(
        "{sessions} sessions after their node was killed, to the first answer by another: \
         the first {} ms, half {} ms, all {} ms",
        back.min(),
        back.value_at_quantile(0.5),
        back.max()
    );
    println!(
        "calls of one who stays: p99 {:.1} ms before, {:.1} ms meanwhile, longest {:.1} ms",
        quiet.value_at_quantile(0.99) as f64 / 1e3,
        storm.value_at_quantile(0.99) as f64 / 1e3,
        storm.max() as f64 / 1e3
    );
    Ok(())
}

/// Serves on a thread of its own, until the program ends.
async fn serve(options: Options) -> Result<()> {
    let (started, has_started) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let answer = |_, _: Value| async { Ok(json!({})) };
            let service = Service::builder().on("a:1", answer);
            let service = service.start(options.io_thread(false)).await?;
            let _ = started.send(());
            Ok::<_, Box<dyn Error + Send + Sync>>(service.run().await?)
        })
    });
    has_started
        .await
        .map_err(|_| "the service did not start".into())
}

/// Calls on a thread of its own: the sessions that look for a node do so on the library's.
fn watch(options: Options, length: Duration) -> JoinHandle<Result<Histogram<u64>>> {
    tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = Client::connect(options.io_thread(false)).await?;
            calls(&client, length).await
        })
    })
}

/// Calls at a steady pace for a while: what each took, in microseconds. None may fail.
async fn calls(client: &Client, length: Duration) -> Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    let begun = Instant::now();
    while begun.elapsed() < length {
        let called = Instant::now();
        client.act::<_, Value>("a:1", &json!({})).await?;
        times.record(called.elapsed().as_micros() as u64)?;
        sleep(PACE.saturating_sub(called.elapsed())).await;
    }
    Ok(times)
}
