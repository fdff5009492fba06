//! A master with a replica, and three sentinels that make the replica master when the
//! master fails.

use crate::{RedisServer, RedisServerBuilder, until};

/// They watch over the service `main`. Everybody has a password, and sentinels another one.
pub struct Sentinels {
    /// Master at the start.
    pub master: RedisServer,
    /// Its replica.
    pub replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// The password of master and replica.
    pub const PASSWORD: &str = "what-opens-redis";

    /// The password of the sentinels.
    pub const SENTINEL_PASSWORD: &str = "what-opens-sentinels";

    /// Starts them, with one more line in the configuration of master and replica, and waits
    /// until they know each other.
    ///
    /// # Panics
    ///
    /// If they do not start.
    pub async fn start(line: &str) -> Self {
        let master = Self::server().line(line).start().await;
        let of_master = format!("replicaof 127.0.0.1 {}", master.port);
        let replica = Self::server().line(line).line(of_master).start().await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Self::sentinel(master.port).await);
        }
        for sentinel in &sentinels {
            until("the sentinels to know each other", async || {
                let quorum = sentinel.ask(&["SENTINEL", "CKQUORUM", "main"]).await;
                let replicas = sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).await;
                let others = sentinel.ask(&["SENTINEL", "SENTINELS", "main"]).await;
                let is_whole = quorum.starts_with("OK 3 ")
                    && replicas.contains("master-link-status\nok")
                    && others.matches("runid\n").count() == 2;
                is_whole.then_some(())
            })
            .await;
        }
        Self {
            master,
            replica,
            sentinels,
        }
    }

    /// As `--redis` takes it, without the passwords.
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        let hosts = self.sentinels.iter();
        let hosts: Vec<_> = hosts.map(|it| format!("127.0.0.1:{}", it.port)).collect();
        format!("redis+sentinel://{user}@{}/main", hosts.join(","))
    }

    /// Waits until the replica is the master, and all sentinels say so.
    pub async fn have_failed_over(&self) {
        let port = self.replica.port.to_string();
        for sentinel in &self.sentinels {
            until("the sentinels to name the replica", async || {
                let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
                let master = sentinel.ask(&question).await;
                (master.lines().last() == Some(&port)).then_some(())
            })
            .await;
        }
        until("the replica to be master", async || {
            let role = self.replica.ask(&["ROLE"]).await;
            role.starts_with("master").then_some(())
        })
        .await;
    }

    fn server() -> RedisServerBuilder {
        RedisServer::builder()
            .password(Self::PASSWORD)
            .line(format!("masterauth {}", Self::PASSWORD))
    }

    async fn sentinel(master: u16) -> RedisServer {
        RedisServer::builder()
            .sentinel()
            .password(Self::SENTINEL_PASSWORD)
            .line(format!(
                "sentinel sentinel-pass {}",
                Self::SENTINEL_PASSWORD
            ))
            .line(format!("sentinel monitor main 127.0.0.1 {master} 2"))
            .line(format!("sentinel auth-pass main {}", Self::PASSWORD))
            .line("sentinel down-after-milliseconds main 500")
            // A failed attempt is repeated after twice as long.
            .line("sentinel failover-timeout main 1000")
            .start()
            .await
    }
}
