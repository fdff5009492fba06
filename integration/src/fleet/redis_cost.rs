//! What nodes ask of Redis: when nothing happens, and for each change.

use std::time::Duration;

use nano_client::Service;
use nano_integration::{Cluster, Redis};
use redis::cmd;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Result;

/// What Redis has done so far.
struct Work {
    commands: u64,
    /// Of its processor time.
    seconds: f64,
}

pub(crate) async fn run(nodes: usize, seconds: u64, changes: u32) -> Result<()> {
    let mut cluster = Cluster::start(0).await;
    let alone = idle(&cluster.redis, seconds).await?;
    for _ in 0..nodes {
        cluster.join().await;
    }
    let idle = idle(&cluster.redis, seconds).await?;
    let per = (nodes as u64 * seconds) as f64;
    println!(
        "an idle node of {nodes}: {:.2} commands/s, {:.0} us/s of Redis' processor",
        idle.commands as f64 / per,
        (idle.seconds - alone.seconds) / per * 1e6
    );
    let before = work(&cluster.redis).await?;
    let begun = tokio::time::Instant::now();
    let mut services = Vec::new();
    for number in 0..changes {
        let answer = |_, _: Value| async { Ok(json!({})) };
        let service = Service::builder().on(&format!("change:{number}"), answer);
        services.push(service.start(cluster.at(0)).await?);
    }
    let took = begun.elapsed().as_secs_f64();
    let after = work(&cluster.redis).await?;
    let idle = idle.seconds / seconds as f64 * took;
    println!(
        "a change, with {nodes} nodes that read it: {:.0} us of Redis' processor, {:.1} commands",
        (after.seconds - before.seconds - idle) / f64::from(changes) * 1e6,
        (after.commands - before.commands) as f64 / f64::from(changes)
    );
    Ok(())
}

async fn idle(redis: &Redis, seconds: u64) -> Result<Work> {
    sleep(Duration::from_secs(2)).await;
    let before = work(redis).await?;
    sleep(Duration::from_secs(seconds)).await;
    let after = work(redis).await?;
    Ok(Work {
        // Less the one that asked.
        commands: after.commands - before.commands - 1,
        seconds: after.seconds - before.seconds,
    })
}

async fn work(redis: &Redis) -> Result<Work> {
    let info: String = redis.ask(cmd("INFO").arg("everything")).await;
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.strip_prefix(':')?.trim().parse::<f64>().ok());
        value.ok_or_else(|| format!("Redis does not tell its {name}"))
    };
    Ok(Work {
        commands: field("total_commands_processed")? as u64,
        seconds: field("used_cpu_sys_main_thread")? + field("used_cpu_user_main_thread")?,
    })
}
