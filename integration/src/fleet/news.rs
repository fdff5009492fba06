//! How soon what is registered at one node is called through another.

use std::time::Instant;

use hdrhistogram::Histogram;
use nano_client::{Client, Service};
use nano_integration::Cluster;
use serde_json::{Value, json};

use crate::Result;

pub(crate) async fn run(registrations: u32) -> Result<()> {
    let cluster = Cluster::start(2).await;
    let caller = Client::connect(cluster.at(1).direct(false)).await?;
    let mut times = Histogram::<u64>::new(3)?;
    for number in 0..registrations {
        let pattern = format!("news:{number}");
        let answer = |_, _: Value| async { Ok(json!({})) };
        let service = Service::builder().on(&pattern, answer);
        let _service = service.start(cluster.at(0)).await?;
        let acknowledged = Instant::now();
        while caller.act::<_, Value>(&pattern, &json!({})).await.is_err() {}
        times.record(acknowledged.elapsed().as_micros() as u64)?;
    }
    let at = |percent| times.value_at_quantile(percent / 100.0) as f64 / 1_000.0;
    println!(
        "from acknowledgement at one node to the first answer through another, of {registrations}: \
         p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        at(50.0),
        at(99.0),
        at(100.0)
    );
    Ok(())
}
