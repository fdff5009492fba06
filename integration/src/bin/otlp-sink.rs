//! `otlp-sink`: takes what nodes export and throws it away, so that the cost of the export can be
//! measured without that of a real collector.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use clap::Parser;
use nano_integration::Collector;

/// Take traces by OTLP over HTTP, until Ctrl-C, and say how much came
#[derive(Parser)]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:4318", value_name = "ADDR")]
    http: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let requests = Arc::new(AtomicU64::new(0));
    let bytes = Arc::new(AtomicU64::new(0));
    let (of_requests, of_bytes) = (Arc::clone(&requests), Arc::clone(&bytes));
    let sink = Collector::start(&arguments.http, move |body| {
        of_requests.fetch_add(1, Ordering::Relaxed);
        of_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    })
    .await;
    println!("taking traces at {}", sink.url());
    tokio::signal::ctrl_c().await?;
    println!(
        "{} requests, {} bytes",
        requests.load(Ordering::Relaxed),
        bytes.load(Ordering::Relaxed)
    );
    Ok(())
}
