//! The body of a registration over HTTP: what is taken of it names a host and a port, and is
//! what its JSON says.
//!
//! An input is a body.

use nano_http::Registration;
use serde_json::json;

/// Reads the input as a node does.
pub fn register_body(input: &[u8]) {
    let registration = match Registration::parse(input) {
        Ok(registration) => registration,
        Err(reason) => return assert!(reason.len() < 4096, "a reason is for people"),
    };
    let Registration { pattern, address } = &registration;
    assert!(!pattern.is_empty());
    let address = address.as_str();
    let (host, port) = address.rsplit_once(':').expect("a host and a port");
    assert!(!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    // It stands in an address of HTTP, and must end nothing there.
    assert!(address.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!address.contains(['/', '?', '#', '@', '\\', '%']));
    let body = json!({"PATTERN": pattern, "serviceaddress": address});
    assert_eq!(
        Registration::parse(body.to_string().as_bytes()),
        Ok(registration)
    );
}
