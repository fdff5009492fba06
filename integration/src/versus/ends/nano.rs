//! Ends that speak by the library that the users of a node link: through the node or past it, with
//! bytes or with values.

use std::{sync::Arc, time::Duration};

use nano_client::{Body as Message, Client, Encoding, Options, Service};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{End, Protocol, Threads, say_ready};
use crate::{
    Result,
    load::{Body, Caller},
};

/// The pattern under which a service on such threads answers with the bytes that it gets.
pub(crate) fn pattern(threads: Threads) -> String {
    format!("bench:echo,threads:{}", threads.name())
}

/// The same with values.
fn typed(threads: Threads) -> String {
    format!("bench:order,threads:{}", threads.name())
}

/// What a typed call carries: [`BODY_SIZE`](crate::load::BODY_SIZE) bytes of JSON.
#[derive(PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    product: String,
    amount: f64,
    tags: Vec<String>,
}

impl Order {
    fn some() -> Self {
        Self {
            id: 1_234_567,
            product: "a thing of a rather long name, too".to_owned(),
            amount: 12.5,
            tags: vec!["urgent".to_owned(), "gift".to_owned()],
        }
    }
}

pub(super) async fn serve(end: &End) -> Result<()> {
    let builder = Service::builder()
        .on_raw(&pattern(end.threads), |_, body| async { Ok(body) })
        .on(&typed(end.threads), |_, order: Order| async { Ok(order) });
    let service = builder.start(options(end)?).await?;
    say_ready(&end.at);
    Ok(service.run().await?)
}

pub(super) async fn connect(end: &End) -> Result<NanoCaller> {
    let caller = NanoCaller {
        client: Client::connect(options(end)?).await?,
        subject: pattern(end.threads).into(),
    };
    if is_direct(end) {
        warm_up(&caller.client, &caller.subject).await;
    }
    Ok(caller)
}

pub(super) async fn connect_typed(end: &End) -> Result<TypedCaller> {
    let NanoCaller { client, .. } = connect(end).await?;
    Ok(TypedCaller {
        client,
        subject: typed(end.threads).into(),
        order: Arc::new(Order::some()),
    })
}

/// The first calls go through the node, until the instances are known and connected. Those to one
/// pattern of an instance make it known for the others.
async fn warm_up(client: &Client, subject: &str) {
    const LENGTH: Duration = Duration::from_millis(500);
    const STEP: Duration = Duration::from_millis(10);
    let end = Instant::now() + LENGTH;
    while Instant::now() < end {
        // What fails here fails again when it is counted.
        let _ = client.act_raw(subject, Message::json("{}")).await;
        sleep(STEP).await;
    }
}

fn is_direct(end: &End) -> bool {
    matches!(end.protocol, Protocol::Direct | Protocol::DirectJson)
}

fn options(end: &End) -> Result<Options> {
    let options = Options::default().direct(is_direct(end));
    let options = options.node(&end.at).tls(end.trust()?);
    // The only thread of a process does all of it.
    Ok(options.io_thread(matches!(end.threads, Threads::Two)))
}

#[derive(Clone)]
pub(super) struct NanoCaller {
    client: Client,
    subject: Arc<str>,
}

impl Caller for NanoCaller {
    async fn call(&self, body: Body) -> Result<bool> {
        let message = Message {
            encoding: Encoding::Bincode,
            bytes: body.into(),
        };
        let answer = self.client.act_raw(&self.subject, message).await?;
        Ok(answer.bytes == body)
    }

    async fn close(self) {
        self.client.close().await;
    }
}

/// Calls with a value of its own, whatever the body is.
#[derive(Clone)]
pub(super) struct TypedCaller {
    client: Client,
    subject: Arc<str>,
    order: Arc<Order>,
}

impl Caller for TypedCaller {
    async fn call(&self, _: Body) -> Result<bool> {
        let answer: Order = self.client.act(&self.subject, &*self.order).await?;
        Ok(answer == *self.order)
    }

    async fn close(self) {
        self.client.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::Order;
    use crate::load::BODY_SIZE;

    #[test]
    fn a_value_takes_as_many_bytes_as_other_bodies() {
        let json = serde_json::to_string(&Order::some()).expect("it is JSON");
        assert_eq!(json.len(), BODY_SIZE, "{json}");
    }
}
