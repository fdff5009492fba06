//! Retries where every call fails: counted at the instances, they are never more than the
//! budget allows.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{Certainty, Client, Code, Policy};
use nano_integration::{Failing, Http, Node, warm};
use nano_wire::{Failure, Hop};
use serde_json::{Value, json};
use tokio::time::Instant;

const INSTANCES: usize = 3;

const CALLERS: u64 = 8;

/// Calls of each, so that the share of a hundred weighs more than what is free.
const CALLS: u64 = 100;

/// How a test calls.
#[derive(Clone)]
enum Caller {
    Http(Http),
    Library(Client),
}

impl Caller {
    /// A call, which fails.
    async fn fail(&self) {
        match self {
            Self::Http(http) => {
                let response = http.post(&json!({"Pattern": "a:1"})).await;
                assert!(matches!(response.status, 502 | 503), "{response:?}");
            }
            Self::Library(client) => {
                let answer = client.act::<_, Value>("a:1", &json!({})).await;
                answer.unwrap_err();
            }
        }
    }
}

fn received(instances: &[Failing]) -> u64 {
    instances.iter().map(Failing::received).sum()
}

/// Most retries of a caller that has made so many calls in a time, by its budget: in any ten
/// seconds of its clock, which are whole ones, 20 of a hundred of its calls, and a hundred more.
fn allowed(calls: u64, time: Duration) -> u64 {
    // Of the first and the last second there may have been a moment only.
    let seconds = time.as_secs() + 2;
    calls / 5 + 100 * seconds.div_ceil(10)
}

/// Calls that all fail reach the instances as often as they are made, and as they may be tried
/// again. Of what the instances were given before, `by_it` was by this caller.
async fn keeps_its_budget(way: &str, caller: Caller, instances: &[Failing], by_it: u64) {
    let before = received(instances);
    let since = Instant::now();
    let callers = (0..CALLERS).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS {
                caller.fail().await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let calls = CALLERS * CALLS;
    let allowed = allowed(calls + by_it, since.elapsed());
    let retries = (received(instances) - before).checked_sub(calls).unwrap();
    assert!(
        retries <= allowed,
        "{way}: {retries} retries, {allowed} allowed"
    );
    assert!(retries > calls / 10, "{way}: only {retries} retries");
}

async fn every_caller_keeps_its_budget(policy: Policy, failure: Failure) {
    let node = Node::start().await;
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        let (policy, failure) = (policy.clone(), failure.clone());
        instances.push(Failing::start(&node, "a:1", policy, failure).await);
    }
    let http = Caller::Http(node.http());
    keeps_its_budget("http", http, &instances, 0).await;
    let switched = Client::connect(node.options().direct(false)).await.unwrap();
    let switched = Caller::Library(switched);
    keeps_its_budget("through the node", switched, &instances, 0).await;
    let before = received(&instances);
    let direct = node.client().await;
    warm(&direct, "a:1", INSTANCES).await;
    let by_it = received(&instances) - before;
    let direct = Caller::Library(direct);
    keeps_its_budget("direct", direct, &instances, by_it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_full_retries_keep_within_the_budget() {
    let full = Failure::new(Code::Overloaded, Certainty::Refused, Hop::Instance, "full");
    every_caller_keeps_its_budget(Policy::default(), full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_lose_what_is_idempotent_retries_keep_within_the_budget() {
    let idempotent = Policy {
        idempotent: true,
        ..Policy::default()
    };
    let (code, certainty) = (Code::ConnectionLost, Certainty::MaybeExecuted);
    let lost = Failure::new(code, certainty, Hop::Instance, "lost");
    every_caller_keeps_its_budget(idempotent, lost).await;
}
