//! Asks the node: the figures of a period each period, and how the instances of a pattern stand, if
//! that is wanted. In comes what is wanted, out goes news. The last figures are kept here, to take
//! the difference from.

use std::time::Duration;

use nano_client::{Activity, CallError, Client, Explained, InstanceId, Status};
use tokio::{
    sync::{mpsc, watch},
    time::{self, MissedTickBehavior},
};

use crate::activity::Rates;

/// How long the node may take for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// News that may wait to be shown.
pub(super) const NEWS: usize = 4;

/// What the node said in a period.
#[derive(Clone, Debug)]
pub(super) struct Period {
    /// How it does.
    pub status: Status,
    /// The end of the period, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened; `None` at first, and where it is another node than before.
    pub rates: Option<Rates>,
}

/// What there is to be shown.
#[derive(Debug)]
pub(super) enum News {
    /// A period is over.
    Period(Box<Period>),
    /// How the instances of the pattern stand that was asked for.
    Explained(Box<Explained>),
    /// The node does not answer.
    Lost(CallError),
}

/// Asks of one node.
pub(super) struct Asking {
    client: Client,
    prefix: Option<String>,
    last: Option<(InstanceId, Activity)>,
}

impl Asking {
    /// Of patterns that begin with a prefix, or of all.
    pub(super) fn new(client: Client, prefix: Option<String>) -> Self {
        Self {
            client,
            prefix,
            last: None,
        }
    }

    /// The figures since those that were asked for before.
    pub(super) async fn period(&mut self) -> Result<Period, CallError> {
        let status = self.client.status().await?;
        let activity = self.client.activity(self.prefix.as_deref()).await?;
        let last = self.last.as_ref();
        let last = last.filter(|(instance, _)| *instance == status.instance);
        let rates = last.map(|(_, last)| Rates::between(last, &activity));
        let at_ms = activity.at_ms;
        self.last = Some((status.instance, activity));
        Ok(Period {
            status,
            at_ms,
            rates,
        })
    }

    /// Asks each period, and about a pattern as soon as it is wanted, until nobody hears it.
    pub(super) async fn run(
        &mut self,
        interval: Duration,
        mut wanted: watch::Receiver<Option<String>>,
        news: mpsc::Sender<News>,
    ) {
        let mut periods = time::interval(interval);
        periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = periods.tick() => {
                    let told = match self.period().await {
                        Ok(period) => News::Period(Box::new(period)),
                        Err(error) => News::Lost(error),
                    };
                    if news.send(told).await.is_err() {
                        return;
                    }
                }
                changed = wanted.changed() => if changed.is_err() {
                    return;
                }
            }
            let pattern = wanted.borrow_and_update().clone();
            if let Some(pattern) = pattern
                && news.send(self.explain(&pattern).await).await.is_err()
            {
                return;
            }
        }
    }

    async fn explain(&self, pattern: &str) -> News {
        let explained = self.client.explain(pattern).await;
        match explained.and_then(|explained| explained.node) {
            Ok(explained) => News::Explained(Box::new(explained)),
            Err(error) => News::Lost(error),
        }
    }

    /// Disconnects.
    pub(super) async fn close(self) {
        self.client.close().await;
    }
}
