//! What viewers of the status page cost a node that knows many patterns, some of which are called, while
//! others come and go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nano_client::{Body, Client, Service};
use nano_integration::{Http, Node, Viewer};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{Result, many::register};

/// Patterns that are called in turn, and the pause between two calls.
const CALLED: usize = 1_000;
const BETWEEN: Duration = Duration::from_millis(2);

/// The pause between two changes of the routes.
const CHANGES: Duration = Duration::from_millis(200);

/// What the node is left before it is measured.
const SETTLING: Duration = Duration::from_secs(8);

/// The parts of the tree that a viewer has open.
const OPEN: [&str; 3] = [
    "/api/v1/tree?limit=100",
    "/api/v1/tree?limit=100&prefix=role:account",
    "/api/v1/tree?limit=100&prefix=come:1",
];

pub(crate) async fn run(
    patterns: usize,
    viewers: usize,
    seconds: u64,
    rounds: usize,
) -> Result<()> {
    let node = Node::start().await;
    let _services = register(&node, patterns, pattern).await?;
    let over = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let client = Client::connect(node.options().direct(false)).await?;
    let calling = tokio::spawn(call(
        client,
        patterns,
        Arc::clone(&over),
        Arc::clone(&calls),
    ));
    let changing = tokio::spawn(change(node.options(), Arc::clone(&over)));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let called = (calls.load(Relaxed), Instant::now());
    for _ in 0..rounds {
        without.push(share(&node, seconds).await);
        let watching: Vec<_> = (0..viewers)
            .map(|_| tokio::spawn(watch(node.admin())))
            .collect();
        with.push(share(&node, seconds).await);
        stop(watching).await?;
    }
    let rate = (calls.load(Relaxed) - called.0) as f64 / called.1.elapsed().as_secs_f64();
    over.store(true, Relaxed);
    calling.await??;
    changing.await??;
    let (without, with) = (median(&mut without), median(&mut with));
    println!(
        "{patterns} patterns, {rate:.0} calls/s, {:.0} changes of routes/s; of a core: {:.2} % without viewers, \
         {:.2} % with {viewers}, {:.2} % a viewer",
        2.0 / CHANGES.as_secs_f64(),
        without * 100.0,
        with * 100.0,
        (with - without) * 100.0 / viewers as f64
    );
    Ok(())
}

/// Under one root, or one itself, in turn.
fn pattern(number: usize) -> String {
    match number % 2 {
        0 => format!("role:account,id:{number:014}"),
        _ => format!("account{number:014}:1"),
    }
}

/// Calls some of the patterns in turn until it is over.
async fn call(
    client: Client,
    patterns: usize,
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
) -> Result<()> {
    let mut ticks = interval(BETWEEN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let called = CALLED.min(patterns);
    for number in (0..called).cycle() {
        if over.load(Relaxed) {
            break;
        }
        ticks.tick().await;
        let body = Body::json("{}");
        client.act_raw(&pattern(number), body).await?;
        calls.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Has patterns come and go until it is over.
async fn change(options: nano_client::Options, over: Arc<AtomicBool>) -> Result<()> {
    for number in 0.. {
        if over.load(Relaxed) {
            break;
        }
        let answer = |_, body| async move { Ok(body) };
        let service = Service::builder().on_raw(&format!("come:1,number:{}", number % 10), answer);
        let _gone_at_once = service.start(options.clone()).await?;
        sleep(CHANGES).await;
    }
    Ok(())
}

/// What the page does: it reads the events, and asks anew for what is open of the tree when the routes
/// have changed.
async fn watch(admin: Http) -> Result<()> {
    loop {
        let mut viewer = Viewer::open(admin, "?sort=rate&limit=50").await;
        while let Some(event) = viewer.next().await {
            if event.name == "routes" {
                for path in OPEN {
                    let page = admin.get(path).await;
                    if page.status != 200 {
                        return Err(format!("{path}: {}", page.status).into());
                    }
                }
            }
        }
    }
}

async fn stop(watching: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    for one in watching {
        one.abort();
        match one.await {
            Ok(ended) => ended?,
            Err(error) if error.is_cancelled() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What the node takes of a core, on average over so many seconds.
async fn share(node: &Node, seconds: u64) -> f64 {
    sleep(SETTLING).await;
    let (before, begun) = (node.process.processor_time(), Instant::now());
    sleep(Duration::from_secs(seconds)).await;
    let took = node.process.processor_time() - before;
    took.as_secs_f64() / begun.elapsed().as_secs_f64()
}

fn median(shares: &mut [f64]) -> f64 {
    shares.sort_unstable_by(f64::total_cmp);
    shares[shares.len() / 2]
}
