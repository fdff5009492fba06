//! `nanod tls`: an authority and certificates by hand.

use std::{process::ExitCode, time::Duration};

use nano_tls::{Authority, Name};

use super::fail;
use crate::cli::Tls;

const SECONDS_A_DAY: u64 = 86_400;

pub(super) fn run(tls: Tls) -> ExitCode {
    match make(tls) {
        Ok(made) => {
            println!("{made}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(1, error),
    }
}

fn make(tls: Tls) -> nano_tls::Result<String> {
    match tls {
        Tls::Init { out, trust_domain } => {
            Authority::create(&trust_domain)?.write(&out)?;
            Ok(format!(
                "made an authority for {trust_domain} in {0}: ca.pem, and ca-key.pem, which \
                 is to be kept from everyone",
                out.display()
            ))
        }
        Tls::Issue {
            name,
            ca,
            out,
            days,
        } => {
            let name: Name = name.parse()?;
            let lifetime = Duration::from_secs(days.saturating_mul(SECONDS_A_DAY));
            let bundle = Authority::load(&ca)?.issue(&name, lifetime)?;
            bundle.write(&out)?;
            Ok(format!(
                "issued {} in {}: ca.pem, cert.pem and key.pem, for --tls {1}",
                bundle.identity(),
                out.display()
            ))
        }
    }
}
