//! Traffic for the demo: services of a small shop, and callers that keep them busy, so that the status
//! page and `nanod top` have something to show. Some calls fail, some are slow, some are long under
//! way, and one instance now and then hangs, is ejected, and recovers.
//!
//! All calls go through the node, which sees no others. They are few enough to cost next to nothing.

use std::{
    f64::consts::TAU,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use nano_client::{Client, ConnectError, Context, HandlerError, Options, Policy, Service};
use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{SUM, UNKNOWN};

const CART: &str = "role:shop,cmd:cart";
const SEARCH: &str = "role:shop,cmd:search";
const PAY: &str = "role:shop,cmd:pay";
const STOCK: &str = "role:shop,cmd:stock";
const REPORT: &str = "role:shop,cmd:report";

/// What is called, and how often a minute.
const CALLED: [(&str, f64); 7] = [
    (CART, 1_800.0),
    (STOCK, 1_200.0),
    (SEARCH, 480.0),
    (PAY, 360.0),
    (SUM, 300.0),
    (REPORT, 30.0),
    (UNKNOWN, 30.0),
];

/// How long it takes until as many calls come as before, and how many more or fewer there are meanwhile.
const WAVE: Duration = Duration::from_secs(40);
const WAVE_HEIGHT: f64 = 0.35;

/// Calls of one subject that are under way at most.
const IN_FLIGHT: usize = 32;

/// How long callers of the stock wait, and what it declares as the deadline of such calls. A node holds a
/// deadline against an instance only if the caller waited as long as is declared, the way included.
const PATIENCE: Duration = Duration::from_millis(250);
const DECLARED: u32 = 150;

/// Deadline of all other calls.
const LONG: Duration = Duration::from_secs(30);

/// How long the instance is well, and how long it hangs: so long that it is out for most of that, since a
/// slow one is given few calls that could fail.
const WELL: Duration = Duration::from_secs(15);
const HANGS: Duration = Duration::from_secs(45);

/// The shop and its callers.
pub(super) struct Load {
    services: Vec<Service>,
    callers: JoinSet<()>,
}

impl Load {
    /// Starts all of them.
    pub(super) async fn start(options: &Options) -> Result<Self, ConnectError> {
        let does_hang = Arc::new(AtomicBool::new(false));
        let mut services = Vec::new();
        for builder in [
            Service::builder()
                .on(CART, |_, _: Value| takes(1..4))
                .on(PAY, |_, _: Value| pay()),
            Service::builder().on(SEARCH, |_, _: Value| takes(20..400)),
            Service::builder().on(REPORT, |_, _: Value| takes(3_000..9_000)),
            stock(Arc::default()),
            stock(Arc::default()),
            stock(Arc::clone(&does_hang)),
        ] {
            services.push(builder.start(options.clone()).await?);
        }
        let client = Client::connect(options.clone()).await?;
        let mut callers = JoinSet::new();
        for (subject, a_minute) in CALLED {
            callers.spawn(call(client.clone(), subject, a_minute));
        }
        callers.spawn(async move {
            loop {
                does_hang.store(true, Relaxed);
                sleep(HANGS).await;
                does_hang.store(false, Relaxed);
                sleep(WELL).await;
            }
        });
        Ok(Self { services, callers })
    }

    /// Ends them, callers first.
    pub(super) async fn end(mut self) {
        self.callers.shutdown().await;
        for service in self.services {
            service.drain().await;
        }
    }
}

/// Answers after some milliseconds.
async fn takes(millis: std::ops::Range<u64>) -> Result<Value, HandlerError> {
    sleep(Duration::from_millis(fastrand::u64(millis))).await;
    Ok(json!({}))
}

/// Fails once in a while.
async fn pay() -> Result<Value, HandlerError> {
    match fastrand::u8(0..5) {
        0 => Err(HandlerError::new("the card was declined")),
        _ => takes(5..30).await,
    }
}

/// An instance that hangs while it is told to.
fn stock(does_hang: Arc<AtomicBool>) -> nano_client::ServiceBuilder {
    let policy = Policy {
        deadline_ms: Some(DECLARED),
        ..Policy::default()
    };
    let builder = Service::builder().policy(policy);
    builder.on(STOCK, move |_: Context, _: Value| {
        let millis = match does_hang.load(Relaxed) {
            true => 5_000..5_001,
            // Near enough to the deadline that a node soon gives an instance calls again that missed it.
            false => 30..70,
        };
        takes(millis)
    })
}

/// Calls a subject again and again, about so often a minute unless too many calls are under way.
async fn call(client: Client, subject: &'static str, a_minute: f64) {
    let client = client.with_timeout(if subject == STOCK { PATIENCE } else { LONG });
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut calls = JoinSet::new();
    let (began, between) = (Instant::now(), Duration::from_secs(60).div_f64(a_minute));
    loop {
        // More and less, as customers come.
        let wave = (TAU * began.elapsed().div_duration_f64(WAVE)).sin();
        let chance = 0.5 + fastrand::f64();
        sleep(between.mul_f64(chance / WAVE_HEIGHT.mul_add(wave, 1.0))).await;
        while calls.try_join_next().is_some() {}
        if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
            let client = client.clone();
            calls.spawn(async move {
                // What becomes of it the node counts.
                let message = json!({"Left": 1, "Right": 2});
                let _ = client.act::<_, Value>(subject, &message).await;
                drop(permit);
            });
        }
    }
}
