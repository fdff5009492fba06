//! A server of go-nano: patterns in Redis as plain strings, and a tree of its own that it
//! fills with what it is asked for.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use redis::{AsyncCommands, aio::MultiplexedConnection};

use super::{
    GoHttp, GoResponse,
    http::{self, Listening, Received, Reply, refusal},
    message::{Message, Registration},
};
use crate::Redis;

/// A server that listens. Dropping it is its death.
pub struct GoServer {
    /// Where it listens.
    pub address: SocketAddr,
    _listening: Listening,
}

impl GoServer {
    /// One that keeps its patterns in a Redis.
    ///
    /// # Panics
    ///
    /// If that cannot be reached, as the original does.
    pub async fn start(redis: &Redis) -> Self {
        let client = redis::Client::open(redis.url()).expect("a URL of Redis");
        let connection = client.get_multiplexed_async_connection().await;
        let serving = Arc::new(Serving {
            redis: connection.expect("connection to redis failed!"),
            tree: Mutex::default(),
            http: GoHttp::default(),
        });
        let (socket, address) = http::reserve();
        let listener = socket.listen(1024).expect("a bound socket can listen");
        let answer = move |received| {
            let serving = Arc::clone(&serving);
            async move { serving.answer(received).await }
        };
        Self {
            address,
            _listening: http::serve(listener, answer),
        }
    }
}

struct Serving {
    redis: MultiplexedConnection,
    /// Addresses by pattern and by subject, compared by bytes. The original has no lock.
    tree: Mutex<BTreeMap<String, String>>,
    http: GoHttp,
}

impl Serving {
    async fn answer(&self, received: Received) -> Reply {
        if received.method != Method::POST {
            return refusal(StatusCode::METHOD_NOT_ALLOWED);
        }
        match received.path.as_str() {
            "/register" => self.register(&received.body).await,
            _ => self.proxy(received.body).await,
        }
    }

    async fn register(&self, body: &[u8]) -> Reply {
        let Some(service) = Registration::parse(body) else {
            return refusal(StatusCode::BAD_REQUEST);
        };
        let mut redis = self.redis.clone();
        let (pattern, address) = (service.pattern, service.service_address);
        let set: redis::RedisResult<()> = redis.set(&pattern, &address).await;
        if set.is_err() {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR);
        }
        self.tree.lock().insert(pattern, address);
        refusal(StatusCode::OK)
    }

    async fn proxy(&self, body: Bytes) -> Reply {
        let message = Message::parse(&body).filter(|message| !message.pattern.is_empty());
        let Some(Message { pattern, .. }) = message else {
            return refusal(StatusCode::BAD_REQUEST);
        };
        let Some((known, address)) = self.in_tree(&pattern) else {
            let Some((_, address)) = self.in_redis(&pattern).await else {
                return refusal(StatusCode::NOT_FOUND);
            };
            return match self.http.post(&address, "", body).await {
                Ok(response) => self.pass_on(pattern, address, response),
                Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR),
            };
        };
        if let Ok(response) = self.http.post(&address, "", body.clone()).await {
            return passed(response);
        }
        self.tree.lock().remove(&known);
        let Some((registered, address)) = self.in_redis(&pattern).await else {
            return refusal(StatusCode::NOT_FOUND);
        };
        match self.http.post(&address, "", body).await {
            Ok(response) => self.pass_on(pattern, address, response),
            Err(_) => {
                let mut redis = self.redis.clone();
                let _: redis::RedisResult<()> = redis.del(registered).await;
                refusal(StatusCode::NOT_FOUND)
            }
        }
    }

    fn pass_on(&self, subject: String, address: String, response: GoResponse) -> Reply {
        self.tree.lock().insert(subject, address);
        passed(response)
    }

    fn in_tree(&self, subject: &str) -> Option<(String, String)> {
        let tree = self.tree.lock();
        let mut before = tree.range(..=subject.to_owned()).rev();
        let found = before.find(|(known, _)| subject.starts_with(known.as_str()));
        found.map(|(known, address)| (known.clone(), address.clone()))
    }

    /// Asks for all fields, then for one less each time.
    async fn in_redis(&self, subject: &str) -> Option<(String, String)> {
        let mut redis = self.redis.clone();
        let mut key = subject;
        loop {
            let found: redis::RedisResult<Option<String>> = redis.get(key).await;
            if let Some(address) = found.ok().flatten().filter(|address| !address.is_empty()) {
                return Some((key.to_owned(), address));
            }
            key = key.rsplit_once(',')?.0;
        }
    }
}

fn passed(response: GoResponse) -> Reply {
    let status = StatusCode::from_u16(response.status);
    Reply::Sent(status.unwrap_or(StatusCode::BAD_GATEWAY), response.body)
}
