//! Ends that speak through a node, by the library that its users link.

use std::sync::Arc;

use nano_client::{Body, Client, Encoding, Options, Service};

use super::{End, Threads, say_ready};
use crate::{
    Result,
    load::{BODY, Caller},
};

/// The pattern that a service on such threads serves.
pub(crate) fn pattern(threads: Threads) -> String {
    format!("bench:echo,threads:{}", threads.name())
}

pub(super) async fn serve(end: &End) -> Result<()> {
    let builder = Service::builder().on_raw(&pattern(end.threads), |_, body| async { Ok(body) });
    let service = builder.start(options(end)?).await?;
    say_ready(&end.at);
    Ok(service.run().await?)
}

pub(super) async fn connect(end: &End) -> Result<NanoCaller> {
    Ok(NanoCaller {
        client: Client::connect(options(end)?).await?,
        subject: pattern(end.threads).into(),
    })
}

fn options(end: &End) -> Result<Options> {
    // What is compared is the way through a router.
    let options = Options::default().direct(false);
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
    async fn call(&self) -> Result<usize> {
        let body = Body {
            encoding: Encoding::Bincode,
            bytes: BODY.as_slice().into(),
        };
        let answer = self.client.act_raw(&self.subject, body).await?;
        Ok(answer.bytes.len())
    }

    async fn close(self) {
        self.client.close().await;
    }
}
