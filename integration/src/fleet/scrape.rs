//! What a scrape of a node with many patterns takes, of which some are called.

use std::time::{Duration, Instant};

use nano_client::{Body, Client};
use nano_integration::{Node, Scrape};
use tokio::time::sleep;

use crate::{Result, many::register};

/// Pairs of scrapes, and the pause between two of them: as long as the node keeps what it has counted
/// over all routes, so that the first of each has that counted anew.
const SCRAPES: usize = 9;
const PAUSE: Duration = Duration::from_millis(5_500);

pub(crate) async fn run(patterns: usize, called: usize) -> Result<()> {
    let node = Node::start().await;
    let _services = register(&node, patterns, pattern).await?;
    let client = Client::connect(node.options().direct(false)).await?;
    for number in 0..called.min(patterns) {
        client.act_raw(&pattern(number), Body::json("{}")).await?;
    }
    let (mut anew, mut kept) = (Vec::new(), Vec::new());
    let mut body = Vec::new();
    for _ in 0..SCRAPES {
        for took in [&mut anew, &mut kept] {
            let begun = Instant::now();
            body = node.admin().get("/metrics").await.body;
            took.push(begun.elapsed());
        }
        sleep(PAUSE).await;
    }
    let scrape = Scrape::parse(&String::from_utf8(body.clone())?);
    println!(
        "{patterns} patterns, {called} of them called, {} with series of their own: a scrape has \
         {} bytes and takes {}, with the routes counted anew {}",
        scrape
            .value("nanod_patterns_metered", &[])
            .unwrap_or_default(),
        body.len(),
        in_words(&mut kept),
        in_words(&mut anew),
    );
    Ok(())
}

/// A pattern of 30 bytes.
fn pattern(number: usize) -> String {
    format!("role:account,id:{number:014}")
}

fn in_words(took: &mut [Duration]) -> String {
    took.sort_unstable();
    let millis = |at: usize| took[at].as_secs_f64() * 1e3;
    let (half, all) = (millis(took.len() / 2), millis(took.len() - 1));
    format!("{half:.1} ms (at most {all:.1} ms)")
}
