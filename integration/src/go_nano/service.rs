//! A service of go-nano: registers, once and before it listens, and answers `POST`.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpSocket, sync::Semaphore};

use super::{
    GoHttp,
    http::{self, Listening, Received, Reply, refusal},
    message::{Answer, Message, Registration},
};
use crate::until;

/// Connections that its kernel keeps for it.
const BACKLOG: u32 = 1024;

/// A service that listens. Dropping it is its death.
pub struct GoService {
    /// Where it listens.
    pub address: SocketAddr,
    registration: Registration,
    requests: Arc<Mutex<Requests>>,
    listening: Listening,
}

/// A service that has registered, and does not listen yet.
pub struct GoRegistered {
    /// Where it will listen.
    pub address: SocketAddr,
    socket: TcpSocket,
    registration: Registration,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct GoRequest {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What a service's handler does.
pub enum GoAnswer {
    /// Answers.
    Ok(Value),
    /// Answers with any status and any bytes.
    Raw(u16, Bytes),
    /// Sends to another place.
    Redirect(String),
    /// Returns an error.
    Fail,
    /// Panics.
    Panic,
    /// Never answers.
    Hang,
    /// Answers once there is a permit.
    Wait(Arc<Semaphore>, Value),
}

#[derive(Default)]
struct Requests {
    count: usize,
    last: Option<GoRequest>,
}

impl GoService {
    /// Registers at a server, and does not listen yet.
    ///
    /// # Panics
    ///
    /// If the server does not answer 200, as the original does.
    pub async fn register(server: SocketAddr, pattern: &str) -> GoRegistered {
        let (socket, address) = http::reserve();
        let registration = Registration {
            pattern: pattern.to_owned(),
            service_address: address.to_string(),
            server_address: server.to_string(),
        };
        let body = registration.to_json().to_string();
        let answered = GoHttp::default().post(server, "/register", body).await;
        let answer = answered.expect("Could not register service!");
        assert_eq!(answer.status, 200, "Could not register service! {answer:?}");
        GoRegistered {
            address,
            socket,
            registration,
        }
    }

    /// Registers at a server, and listens.
    pub async fn start(
        server: SocketAddr,
        pattern: &str,
        handler: impl Fn(&Value) -> GoAnswer + Send + Sync + 'static,
    ) -> Self {
        Self::register(server, pattern).await.listen(handler)
    }

    /// One that answers with its name and the message's `Tag`.
    pub async fn named(server: SocketAddr, pattern: &str, name: &'static str) -> Self {
        Self::start(server, pattern, naming(name)).await
    }

    /// Its process ends, and another takes its place, which does not listen yet. It does
    /// not register: who has started it counts on the route that is there.
    pub async fn restart(self) -> GoRegistered {
        let Self {
            address,
            registration,
            listening,
            ..
        } = self;
        drop(listening);
        let socket = until("the port to be free", async || http::take(address)).await;
        GoRegistered {
            address,
            socket,
            registration,
        }
    }

    /// Requests that its handler was given.
    #[must_use]
    pub fn handled(&self) -> usize {
        self.requests.lock().count
    }

    /// The last of them.
    #[must_use]
    pub fn last(&self) -> Option<GoRequest> {
        self.requests.lock().last.clone()
    }

    /// Connections that it has accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.listening.accepted.load(Ordering::SeqCst)
    }
}

impl GoRegistered {
    /// Listens, and answers.
    ///
    /// # Panics
    ///
    /// If the system does not let it.
    #[must_use]
    pub fn listen(self, handler: impl Fn(&Value) -> GoAnswer + Send + Sync + 'static) -> GoService {
        let listener = self.socket.listen(BACKLOG);
        let listener = listener.expect("a bound socket can listen");
        let requests = Arc::new(Mutex::new(Requests::default()));
        let service = Arc::new(Serving {
            registration: self.registration.clone(),
            handler: Box::new(handler),
            requests: Arc::clone(&requests),
        });
        let answer = move |received| {
            let service = Arc::clone(&service);
            async move { service.answer(received).await }
        };
        GoService {
            address: self.address,
            registration: self.registration,
            requests,
            listening: http::serve(listener, answer),
        }
    }

    /// Listens, and answers with a name and the message's `Tag`.
    #[must_use]
    pub fn listen_as(self, name: &'static str) -> GoService {
        self.listen(naming(name))
    }
}

fn naming(name: &'static str) -> impl Fn(&Value) -> GoAnswer {
    move |message| GoAnswer::Ok(serde_json::json!({"Name": name, "Tag": message["Tag"]}))
}

struct Serving {
    registration: Registration,
    handler: Box<dyn Fn(&Value) -> GoAnswer + Send + Sync>,
    requests: Arc<Mutex<Requests>>,
}

impl Serving {
    async fn answer(&self, received: Received) -> Reply {
        if received.method != Method::POST {
            return refusal(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Some(message) = Message::parse(&received.body) else {
            return refusal(StatusCode::BAD_REQUEST);
        };
        if !message.pattern.contains(&self.registration.pattern) {
            return refusal(StatusCode::BAD_REQUEST);
        }
        let value: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        self.note(received);
        match (self.handler)(&value) {
            GoAnswer::Ok(value) => {
                let payload = Bytes::from(value.to_string());
                let body = match message.service_request {
                    true => self.wrapped(payload),
                    false => payload,
                };
                Reply::Sent(StatusCode::OK, body)
            }
            GoAnswer::Raw(status, body) => {
                let status = StatusCode::from_u16(status).expect("a test's status is one");
                Reply::Sent(status, body)
            }
            GoAnswer::Redirect(to) => Reply::Moved(to),
            GoAnswer::Fail => refusal(StatusCode::INTERNAL_SERVER_ERROR),
            GoAnswer::Panic => Reply::Panicked,
            GoAnswer::Hang => std::future::pending().await,
            GoAnswer::Wait(permits, value) => {
                permits.acquire().await.expect("it stays open").forget();
                Reply::Sent(StatusCode::OK, Bytes::from(value.to_string()))
            }
        }
    }

    fn note(&self, received: Received) {
        let mut requests = self.requests.lock();
        requests.count += 1;
        requests.last = Some(GoRequest {
            path: received.path,
            headers: received.headers,
            body: received.body,
        });
    }

    fn wrapped(&self, payload: Bytes) -> Bytes {
        let service = self.registration.clone();
        Bytes::from(Answer { service, payload }.to_json().to_string())
    }
}
