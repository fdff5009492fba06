//! What asks services of go-nano: `Act`, with its cache of addresses.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    GoHttp,
    message::{Answer, Registration},
};

/// A service of go-nano in the part of one that asks others. It has to ask with
/// `ServiceRequest`: without it, `Act` finds no payload in any answer.
pub struct GoCaller {
    server: SocketAddr,
    /// By pattern, which is compared by bytes.
    cache: Mutex<BTreeMap<String, (String, String)>>,
    http: GoHttp,
}

impl GoCaller {
    /// One that knows a server.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            cache: Mutex::default(),
            http: GoHttp::default(),
        }
    }

    /// `Act`: sends a message to the address that is cached for its pattern, or else to the
    /// server, and gives the payload of what comes back, whatever its status.
    ///
    /// # Errors
    ///
    /// If nothing comes back, or no answer of go-nano's.
    pub async fn act(&self, message: &Value, pattern: &str) -> Result<Bytes, String> {
        let message = message.to_string();
        let known = self.cached(pattern);
        let (response, is_new) = match known {
            None => (self.ask(&self.server.to_string(), &message).await?, true),
            Some((pattern, service, server)) => match self.ask(&service, &message).await {
                Ok(response) => (response, false),
                Err(_) => match self.ask(&server, &message).await {
                    Ok(response) => (response, true),
                    Err(error) => {
                        self.cache.lock().remove(&pattern);
                        return Err(error);
                    }
                },
            },
        };
        let answer = Answer::parse(&response)?;
        if is_new && !answer.service.service_address.is_empty() {
            self.remember(answer.service);
        }
        Ok(answer.payload)
    }

    /// The address that is cached for a pattern, if one is.
    #[must_use]
    pub fn address_of(&self, pattern: &str) -> Option<String> {
        self.cached(pattern).map(|(_, service, _)| service)
    }

    /// The longest pattern that the subject begins with, byte for byte.
    fn cached(&self, subject: &str) -> Option<(String, String, String)> {
        let cache = self.cache.lock();
        let mut before = cache.range(..=subject.to_owned()).rev();
        let found = before.find(|(pattern, _)| subject.starts_with(*pattern));
        found.map(|(pattern, (service, server))| (pattern.clone(), service.clone(), server.clone()))
    }

    fn remember(&self, service: Registration) {
        let addresses = (service.service_address, service.server_address);
        self.cache.lock().insert(service.pattern, addresses);
    }

    async fn ask(&self, address: &str, message: &str) -> Result<Bytes, String> {
        let response = self.http.post(address, "", message.to_owned()).await?;
        Ok(response.body)
    }
}
