//! Connections to whatever kind of Redis there is. Each is made anew, sentinels asked and
//! slots looked up; none repairs itself, since only a new one is known to lead to the
//! present master.

use std::time::Duration;

use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates,
    TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use super::{
    access::RedisAccess,
    url::{Kind, RedisUrl},
};

/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(2);

/// How long one to each server of a cluster may take: all are waited for, twice, before a
/// command is sent to one of those that answer.
const TO_EACH: Duration = Duration::from_millis(500);

/// When a silent connection is asked whether it is alive, and when sent bytes that nobody
/// acknowledges end it.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Makes connections.
#[derive(Clone)]
pub(super) struct Provider {
    access: RedisAccess,
}

/// One connection; a clone uses the same.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Provider {
    pub(super) fn new(access: RedisAccess) -> Self {
        Self { access }
    }

    /// Where Redis is; what it prints has no password.
    pub(super) fn url(&self) -> &RedisUrl {
        &self.access.url
    }

    /// What an error says, should it repeat what was sent.
    pub(super) fn without_passwords(&self, text: &str) -> String {
        let passwords = [&self.access.url.password, &self.access.sentinel_password];
        let passwords = passwords.into_iter().flatten();
        passwords.fold(text.to_owned(), |text, password| {
            text.replace(password, "(password)")
        })
    }

    /// Connects; answers may take as long as `patience`.
    pub(super) async fn connect(&self, patience: Duration) -> RedisResult<Connection> {
        match &self.access.url.kind {
            Kind::Single => self.to_server(self.client()?, patience).await,
            Kind::Sentinel(service) => {
                let client = self.master(service).await?;
                self.to_server(client, patience).await
            }
            Kind::Cluster => self.to_cluster(patience).await,
        }
    }

    async fn to_server(&self, client: Client, patience: Duration) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(Some(patience));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Connection::Server(connection.await?))
    }

    fn client(&self) -> RedisResult<Client> {
        let info = self.infos()?.into_iter().next();
        let info = info.ok_or((::redis::ErrorKind::InvalidClientConfig, "no host"))?;
        if self.access.url.tls {
            Client::build_with_tls(info, self.certificates())
        } else {
            Client::open(info)
        }
    }

    /// The present master, as a sentinel says and it says itself; several are asked at a time.
    async fn master(&self, service: &str) -> RedisResult<Client> {
        let RedisAccess {
            url,
            sentinel_password,
            ..
        } = &self.access;
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(self.addresses(), service, kind)?
            .set_client_to_redis_db(url.database)
            .set_client_to_redis_tcp_settings(tcp_settings())
            .set_client_to_sentinel_tcp_settings(tcp_settings());
        if let Some(user) = &url.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &url.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(password) = sentinel_password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if url.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(self.certificates())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(self.certificates());
        }
        builder.build()?.async_get_client().await
    }

    async fn to_cluster(&self, patience: Duration) -> RedisResult<Connection> {
        let mut builder = ClusterClient::builder(self.infos()?)
            .connection_timeout(TO_EACH)
            .response_timeout(patience)
            .tcp_settings(tcp_settings());
        if self.access.url.tls {
            builder = builder.certs(self.certificates());
        }
        let connection = builder.build()?.get_async_connection().await?;
        Ok(Connection::Cluster(connection))
    }

    fn infos(&self) -> RedisResult<Vec<ConnectionInfo>> {
        let mut settings = RedisConnectionInfo::default().set_db(self.access.url.database);
        if let Some(user) = &self.access.url.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.access.url.password {
            settings = settings.set_password(password);
        }
        let info = |address: ConnectionAddr| {
            let info = address.into_connection_info()?;
            let info = info.set_tcp_settings(tcp_settings());
            Ok(info.set_redis_settings(settings.clone()))
        };
        self.addresses().map(info).collect()
    }

    fn addresses(&self) -> impl Iterator<Item = ConnectionAddr> {
        let hosts = self.access.url.hosts.iter().cloned();
        hosts.map(|(host, port)| {
            if self.access.url.tls {
                ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: false,
                    tls_params: None,
                }
            } else {
                ConnectionAddr::Tcp(host, port)
            }
        })
    }

    fn certificates(&self) -> TlsCertificates {
        let client = self.access.tls.client.clone();
        TlsCertificates {
            client_tls: client.map(|(client_cert, client_key)| ClientTlsConfig {
                client_cert,
                client_key,
            }),
            root_cert: self.access.tls.authority.clone(),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

fn tcp_settings() -> TcpSettings {
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keep_alive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(KEEP_ALIVE * 2);
    settings
}
