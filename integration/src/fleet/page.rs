//! What viewers of the status page cost a node that knows many patterns, some of which are called, while
//! others come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    let mut shares = Vec::new();
    let called = (calls.load(Relaxed), Instant::now());
    for _ in 0..rounds {
        let without = share(&node, seconds).await;
        let watching: Vec<_> = (0..viewers)
            .map(|_| tokio::spawn(watch(node.admin())))
            .collect();
        shares.push((without, share(&node, seconds).await));
        stop(watching).await?;
    }
    let rate = (calls.load(Relaxed) - called.0) as f64 / called.1.elapsed().as_secs_f64();
    over.store(true, Relaxed);
    calling.await??;
    changing.await??;
    println!(
        "{patterns} patterns, {rate:.0} calls/s, {:.0} changes of routes/s; medians of {rounds} rounds, % of a core",
        2.0 / CHANGES.as_secs_f64(),
    );
    print_shares(&shares, viewers);
    Ok(())
}

/// What each thread takes without viewers, and how much more with them; a round's own difference, so that
/// what changes slowly is in none.
fn print_shares(rounds: &[(Shares, Shares)], viewers: usize) {
    println!(
        "{:<16} {:>8} {:>8} {:>9}",
        "THREAD", "WITHOUT", "MORE", "A VIEWER"
    );
    let names: BTreeSet<_> = rounds.iter().flat_map(|(_, with)| with.keys()).collect();
    for name in names {
        let of = |shares: &Shares| shares.get(name).copied().unwrap_or(0.0) * 100.0;
        let without = median(rounds.iter().map(|(without, _)| of(without)).collect());
        let differences = rounds.iter().map(|(without, with)| of(with) - of(without));
        let more = median(differences.collect());
        let each = more / viewers as f64;
        println!("{name:<16} {without:>8.2} {more:>8.2} {each:>9.3}");
    }
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

/// What the node's threads take of a core by their names, and all of them together.
type Shares = BTreeMap<String, f64>;

/// On average over so many seconds.
async fn share(node: &Node, seconds: u64) -> Shares {
    sleep(SETTLING).await;
    let times = || {
        let mut times = node.process.processor_times();
        // Also of threads that have ended, so it may be more than the sum of the others.
        times.insert("(all)".to_owned(), node.process.processor_time());
        times
    };
    let (before, begun) = (times(), Instant::now());
    sleep(Duration::from_secs(seconds)).await;
    let (after, took) = (times(), begun.elapsed());
    let since = |(name, time): (String, Duration)| {
        let before = before.get(&name).copied().unwrap_or_default();
        let share = time.saturating_sub(before).div_duration_f64(took);
        (name, share)
    };
    after.into_iter().map(since).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
