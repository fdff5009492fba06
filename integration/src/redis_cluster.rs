//! A cluster of three masters, each with a third of the slots.

use crate::{RedisServer, redis_server::free_port, until};

/// The masters. A third of the keys is gone while one is away, the others are not.
pub struct RedisCluster {
    /// In the order of their slots.
    pub masters: Vec<RedisServer>,
}

const SLOTS: usize = 16_384;

const MASTERS: usize = 3;

impl RedisCluster {
    /// Starts them, with one more line in the configuration of each, and waits until all find
    /// that they are whole.
    ///
    /// # Panics
    ///
    /// If they do not start.
    pub async fn start(line: &str) -> Self {
        let mut masters: Vec<RedisServer> = Vec::new();
        for number in 0..MASTERS {
            let bus = free_port();
            let master = RedisServer::builder()
                .line(line)
                .line("cluster-enabled yes")
                .line(format!("cluster-port {bus}"))
                .line("cluster-node-timeout 1000")
                .line("cluster-require-full-coverage no")
                .start()
                .await;
            let first = (number * SLOTS / MASTERS).to_string();
            let last = ((number + 1) * SLOTS / MASTERS - 1).to_string();
            let add = ["CLUSTER", "ADDSLOTSRANGE", &first, &last];
            master.order(&add).await;
            if let Some(one) = masters.first() {
                let (port, bus) = (master.port.to_string(), bus.to_string());
                let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
                one.order(&meet).await;
            }
            masters.push(master);
        }
        for master in &masters {
            until("the cluster to be whole", async || {
                let info = master.ask(&["CLUSTER", "INFO"]).await;
                let has = |line: &str| info.lines().any(|other| other.trim_end() == line);
                let is_whole = has("cluster_state:ok")
                    && has("cluster_size:3")
                    && has("cluster_slots_ok:16384");
                is_whole.then_some(())
            })
            .await;
        }
        Self { masters }
    }

    /// As `--redis` takes it, with this in front of the hosts.
    #[must_use]
    pub fn url(&self, login: &str) -> String {
        let hosts = self.masters.iter();
        let hosts: Vec<_> = hosts.map(|it| format!("127.0.0.1:{}", it.port)).collect();
        format!("redis+cluster://{login}@{}", hosts.join(","))
    }

    /// A namespace that this master has.
    ///
    /// # Panics
    ///
    /// If it has none of a hundred.
    pub async fn namespace_on(&self, master: usize) -> String {
        for number in 0..100 {
            let namespace = format!("n{number}");
            let key = format!("{{nano:{namespace}}}");
            let slot = self.masters[0].ask(&["CLUSTER", "KEYSLOT", &key]).await;
            let slot: usize = slot.parse().expect("a slot is a number");
            if (master * SLOTS / MASTERS..(master + 1) * SLOTS / MASTERS).contains(&slot) {
                return namespace;
            }
        }
        panic!("a hundred names and none on master {master}");
    }
}
