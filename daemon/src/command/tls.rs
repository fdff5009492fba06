//! `nanod tls`: an authority and certificates by hand.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use nano_tls::{Authority, Name, Revoke, Summary};
use serde_json::{Value, json};

use super::{
    fail,
    inquiry::print,
    output::{Tone, field},
};
use crate::{
    cli::{Form, Tls},
    json::written,
};

/// Characters of the names of what is said.
const NAMES: usize = 11;

const SECONDS_A_DAY: u64 = 86_400;

pub(super) fn run(tls: Tls) -> Result<ExitCode, ExitCode> {
    let made = match tls {
        Tls::Show { path, form } => return show(&path, &form),
        Tls::Init { out, trust_domain } => init(&out, &trust_domain),
        Tls::Issue {
            name,
            ca,
            out,
            days,
        } => issue(&name, &ca, &out, days),
        Tls::Renew { folder, ca, days } => renew(&folder, &ca, days),
        Tls::Revoke { ca, whose } => revoke(&ca, whose),
    };
    println!("{}", made.map_err(failed)?);
    Ok(ExitCode::SUCCESS)
}

fn failed(error: nano_tls::Error) -> ExitCode {
    fail(1, error)
}

fn init(out: &Path, trust_domain: &str) -> nano_tls::Result<String> {
    Authority::create(trust_domain)?.write(out)?;
    Ok(format!(
        "made an authority for {trust_domain} in {0}: ca.pem, and ca-key.pem, which \
         is to be kept from everyone",
        out.display()
    ))
}

fn issue(name: &str, ca: &Path, out: &Path, days: u64) -> nano_tls::Result<String> {
    let name: Name = name.parse()?;
    let bundle = Authority::load(ca)?.issue_into(out, &name, lifetime(days))?;
    Ok(format!(
        "issued {} in {}: ca.pem, cert.pem and key.pem, for --tls {1}",
        bundle.identity(),
        out.display()
    ))
}

fn renew(folder: &Path, ca: &Path, days: Option<u64>) -> nano_tls::Result<String> {
    let bundle = Authority::load(ca)?.renew(folder, days.map(lifetime))?;
    Ok(format!(
        "renewed {} in {}: valid until {}",
        bundle.identity(),
        folder.display(),
        written(bundle.validity().not_after)
    ))
}

fn revoke(ca: &Path, whose: PathBuf) -> nano_tls::Result<String> {
    let authority = Authority::load(ca)?;
    let shown = whose.display().to_string();
    let whose = match whose.is_file() {
        true => Revoke::Certificate(whose),
        false => {
            let domain = format!("spiffe://{}/", authority.trust_domain());
            Revoke::Name(shown.strip_prefix(&domain).unwrap_or(&shown).parse()?)
        }
    };
    let added = authority.revoke(&whose)?;
    Ok(format!(
        "revoked {shown}: {added} more on the list {}, which is to be copied beside the \
         cert.pem of all nodes, services and clients",
        ca.join("crl.pem").display()
    ))
}

fn show(path: &Path, form: &Form) -> Result<ExitCode, ExitCode> {
    let summary = Summary::of(path).map_err(failed)?;
    let now = SystemTime::now();
    print(form, || in_words(&summary, now), || in_json(&summary, now))?;
    Ok(ExitCode::SUCCESS)
}

fn in_words(summary: &Summary, now: SystemTime) -> String {
    let validity = summary.validity;
    let left = match validity.not_after > now {
        true => format!("{} days left", days(validity.left(now))),
        false => Tone::Bad.paint("expired"),
    };
    let mut lines = vec![
        ("identity", summary.identity.clone()),
        ("serial", summary.serial.clone()),
        ("valid from", written(validity.not_before)),
        ("until", format!("{}, {left}", written(validity.not_after))),
    ];
    let authorities = summary.authorities.iter();
    lines.extend(authorities.map(|authority| ("authority", authority.to_string())));
    let next = summary.next_revocations.map(written);
    lines.extend(next.map(|next| ("revocations", format!("a newer list is due by {next}"))));
    let line = |(name, text): (&str, String)| field(name, NAMES, text);
    lines.into_iter().map(line).collect()
}

fn in_json(summary: &Summary, now: SystemTime) -> Value {
    let authorities = summary.authorities.iter();
    json!({
        "identity": summary.identity,
        "serial": summary.serial,
        "not_before": written(summary.validity.not_before),
        "not_after": written(summary.validity.not_after),
        "days_left": days(summary.validity.left(now)),
        "expired": summary.validity.not_after <= now,
        "authorities": authorities.map(ToString::to_string).collect::<Vec<_>>(),
        "next_revocations": summary.next_revocations.map(written),
    })
}

fn lifetime(days: u64) -> Duration {
    Duration::from_secs(days.saturating_mul(SECONDS_A_DAY))
}

fn days(left: Duration) -> u64 {
    left.as_secs() / SECONDS_A_DAY
}
