//! Ends that speak through a NATS server: requests, and a subscriber that answers them.

use async_nats::{Client, ConnectOptions, Subject};
use futures_util::StreamExt;

use super::{End, say_ready};
use crate::{
    Result,
    load::{Body, Caller},
};

pub(super) async fn serve(end: &End) -> Result<()> {
    let client = dial(end).await?;
    let mut calls = client.subscribe(subject(end)).await?;
    client.flush().await?;
    say_ready(&end.at);
    while let Some(call) = calls.next().await {
        if let Some(reply) = call.reply {
            client.publish(reply, call.payload).await?;
        }
    }
    Ok(())
}

pub(super) async fn connect(end: &End) -> Result<NatsCaller> {
    Ok(NatsCaller {
        client: dial(end).await?,
        subject: subject(end),
    })
}

/// Connects; with TLS if there is a certificate to trust.
async fn dial(end: &End) -> Result<Client> {
    let mut options = ConnectOptions::new();
    if let Some(trust) = &end.trust {
        options = options
            .add_root_certificates(trust.clone())
            .require_tls(true);
    }
    let client = options.connect(&end.at).await;
    client.map_err(|error| format!("cannot connect to NATS: {error}").into())
}

fn subject(end: &End) -> Subject {
    format!("bench.echo.{}", end.threads.name()).into()
}

#[derive(Clone)]
pub(super) struct NatsCaller {
    client: Client,
    subject: Subject,
}

impl Caller for NatsCaller {
    async fn call(&self, body: Body) -> Result<bool> {
        let answer = self
            .client
            .request(self.subject.clone(), body.into())
            .await?;
        Ok(answer.payload == body)
    }
}
