//! `screenshots`: pictures of the status page for the documents, of a node with services and callers of its own.
//!
//!     cargo run -p nano-integration --bin screenshots -- docs/images

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;
use nano_client::{Client, ConnectError, HandlerError, Service};
use nano_integration::{Authority, Browser, Node};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// Draw the status page, at a desktop's and a phone's width, light and dark
#[derive(Parser)]
struct Arguments {
    /// Folder that the pictures go to
    folder: PathBuf,
    /// Seconds of calls before they are taken
    #[arg(long, default_value_t = 110)]
    seconds: u64,
}

/// What a service does: its pattern, how many instances there are, how long it takes in milliseconds,
/// how often it is called in a second, and how many calls in a thousand fail.
const SERVICES: [(&str, usize, f64, f64, u16); 12] = [
    ("role:cart,cmd:add", 3, 4.0, 42.0, 0),
    ("role:cart,cmd:list", 3, 2.0, 65.0, 0),
    ("role:cart,cmd:list,currency:eur", 2, 3.0, 18.0, 0),
    ("role:catalog,cmd:find", 2, 9.0, 54.0, 0),
    ("role:catalog,cmd:read", 2, 1.0, 90.0, 0),
    ("role:mail,cmd:send", 1, 35.0, 6.0, 20),
    ("role:order,cmd:place", 2, 22.0, 12.0, 4),
    ("role:order,cmd:track", 2, 6.0, 16.0, 0),
    ("role:payment,cmd:charge", 2, 80.0, 11.0, 45),
    ("role:payment,cmd:refund", 2, 60.0, 2.0, 0),
    ("role:stock,cmd:reserve", 2, 5.0, 24.0, 0),
    ("role:user,cmd:login", 2, 14.0, 9.0, 30),
];

/// What is drawn: a name, the width and height, and the colours.
const PICTURES: [(&str, u32, u32, &str); 4] = [
    ("status-page-light", 1280, 920, "light"),
    ("status-page-dark", 1280, 920, "dark"),
    ("status-page-phone-light", 390, 844, "light"),
    ("status-page-phone-dark", 390, 844, "dark"),
];

/// Until a change of size and colours has been drawn, and the figures after it.
const SETTLED: Duration = Duration::from_millis(2_500);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.folder)?;
    let authority = Authority::new();
    let node = Node::builder().authority(&authority).start().await;
    let mut services = Vec::new();
    for (pattern, instances, millis, _, failing) in SERVICES {
        for _ in 0..instances {
            services.push(serve(&node, pattern, millis, failing).await?);
        }
    }
    let client = Client::connect(node.options_of("client/shop").direct(false)).await?;
    let mut callers = JoinSet::new();
    for (at, (pattern, _, _, per_second, _)) in SERVICES.into_iter().enumerate() {
        callers.spawn(call(client.clone(), pattern, per_second, at as f64));
    }
    let browser = Browser::open(&node.page()).await;
    sleep(Duration::from_secs(arguments.seconds)).await;
    choose(&browser).await;
    for (name, width, height, colours) in PICTURES {
        browser.resize(width, height).await;
        browser.scheme(colours).await;
        sleep(SETTLED).await;
        let file = arguments.folder.join(format!("{name}.png"));
        fs::write(file, browser.screenshot().await)?;
    }
    browser.close().await;
    callers.shutdown().await;
    Ok(())
}

/// A service that takes about so long, and of which some calls fail.
async fn serve(
    node: &Node,
    pattern: &'static str,
    millis: f64,
    failing: u16,
) -> Result<Service, ConnectError> {
    let role = pattern.split([':', ',']).nth(1).unwrap_or(pattern);
    let service = Service::builder().on(pattern, move |_, message: Value| async move {
        let pace = fastrand::f64() + fastrand::f64() * fastrand::f64();
        sleep(Duration::from_secs_f64(millis * (0.4 + pace) / 1_000.0)).await;
        match fastrand::u16(..1_000) < failing {
            true => Err(HandlerError::new("try another card")),
            false => Ok(message),
        }
    });
    let name = format!("service/{role}");
    service.start(node.options_of(&name)).await
}

/// Calls about so often in a second, now more and now less, each without waiting for the one before.
async fn call(client: Client, pattern: &'static str, per_second: f64, phase: f64) {
    let began = Instant::now();
    loop {
        let wave = (began.elapsed().as_secs_f64() / 13.0 + phase).sin();
        let often = per_second * 0.25_f64.mul_add(wave, 1.0);
        sleep(Duration::from_secs_f64(fastrand::f64() * 2.0 / often)).await;
        let client = client.clone();
        // A failure is what the page is to show.
        tokio::spawn(async move { client.act::<_, Value>(pattern, &json!({})).await });
    }
}

/// Opens a branch of the tree, chooses a pattern and asks who serves it.
async fn choose(browser: &Browser) {
    for key in ["role:cart", "role:cart,cmd:list"] {
        let row = format!("#tree [data-key=\"{key}\"]");
        browser.until_text(&row, "").await;
        browser.click(&row).await;
    }
    browser.run("document.querySelector('#chosen-explain').click(); scrollTo(0, 0); document.activeElement.blur();", json!([])).await;
}
