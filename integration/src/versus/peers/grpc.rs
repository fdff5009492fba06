//! gRPC over TLS: a server of tonic, called without anything between.

use nano_integration::ANY;

use super::{Contender, certify};
use crate::{
    Result,
    ends::{Protocol, Threads},
};

pub(super) async fn start(threads: &[Threads]) -> Result<Contender> {
    let mut contender = Contender::new("grpc_tls", "gRPC: tonic, TLS")?;
    let folder = contender.folder.path().to_owned();
    certify(&folder)?;
    contender
        .serve(Protocol::Grpc, threads, ANY, Some(folder))
        .await?;
    Ok(contender)
}
