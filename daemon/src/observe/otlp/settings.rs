//! Where spans go and as whose: the setting and the variables of OpenTelemetry come in
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>), one checked [`OtlpSettings`] goes
//! out.

use std::{fmt, path::PathBuf, str::FromStr};

use hyper::{
    Uri,
    header::{HeaderMap, HeaderName, HeaderValue},
    http::uri::{Authority, PathAndQuery, Scheme},
};

use crate::config::Env;

/// The path of traces below an endpoint.
const TRACES: &str = "/v1/traces";

/// Most attributes of the resource, and most headers, that variables may give.
const MOST: usize = 64;

/// Where spans are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtlpEndpoint {
    /// Host and port.
    pub(super) authority: Authority,
    /// What is posted to.
    pub(super) path: PathAndQuery,
    /// TLS is spoken.
    pub(super) is_encrypted: bool,
}

/// How spans are exported.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Where to.
    pub(super) endpoint: OtlpEndpoint,
    /// What is said of the node with each batch.
    pub(super) resource: Vec<(String, String)>,
    /// What each request carries. Never shown, as it may be a token.
    pub(super) headers: HeaderMap,
    /// The authority of the collector's certificate; the system's if there is none.
    pub(super) authority: Option<PathBuf>,
}

/// Why nothing can be exported as the environment says.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The endpoint is none.
    #[error("{0} is not {EXPECTED}")]
    Endpoint(&'static str),
    /// The protocol is another one.
    #[error(
        "OTEL_EXPORTER_OTLP_PROTOCOL is {0:?}; the node exports by http/protobuf, to port 4318 of \
         most collectors: name that, or unset OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    Protocol(String),
    /// A list is none. Its values are not shown.
    #[error("{0} is not a list of at most {MOST} such as key=value,key=value")]
    List(&'static str),
    /// A variable is not text.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
}

/// What an endpoint has to be.
pub const EXPECTED: &str = "a URL such as http://127.0.0.1:4318 or https://otlp.example.org";

impl FromStr for OtlpEndpoint {
    type Err = ();

    /// Reads a base, to which the path of traces is added.
    fn from_str(text: &str) -> Result<Self, ()> {
        let uri: Uri = text.trim_end_matches('/').parse().map_err(drop)?;
        let base = uri.path().trim_end_matches('/');
        let path = format!("{base}{TRACES}").parse().map_err(drop)?;
        Self::new(&uri, path).ok_or(())
    }
}

impl OtlpEndpoint {
    /// Of a URL that names the path of traces itself.
    fn whole(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let path = uri.path_and_query().cloned();
        Self::new(&uri, path.unwrap_or(PathAndQuery::from_static("/")))
    }

    fn new(uri: &Uri, path: PathAndQuery) -> Option<Self> {
        let is_encrypted = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority = uri.authority()?.clone();
        (!authority.as_str().contains('@')).then_some(Self {
            authority,
            path,
            is_encrypted,
        })
    }

    /// The port, where none is named the one of the scheme.
    pub(super) fn port(&self) -> u16 {
        let default = if self.is_encrypted { 443 } else { 80 };
        self.authority.port_u16().unwrap_or(default)
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl fmt::Debug for OtlpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpSettings")
            .field("endpoint", &self.endpoint)
            .field("resource", &self.resource)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl OtlpSettings {
    /// To an endpoint, with nothing said of the node.
    #[must_use]
    pub fn to(endpoint: OtlpEndpoint) -> Self {
        Self {
            endpoint,
            resource: Vec::new(),
            headers: HeaderMap::new(),
            authority: None,
        }
    }

    /// To the endpoint that is set or, where none is, that of the environment, which also says the
    /// rest. `None` where neither wants spans exported.
    ///
    /// # Errors
    ///
    /// If a variable that counts is wrong.
    pub fn choose(set: Option<Self>, env: Env<'_>) -> Result<Option<Self>, OtlpError> {
        let endpoint = match set {
            Some(set) => set.endpoint,
            None => match by_variables(env)? {
                Some(endpoint) => endpoint,
                None => return Ok(None),
            },
        };
        Ok(Some(Self {
            endpoint,
            resource: resource(env)?,
            headers: headers(env)?,
            authority: of_traces(env, CERTIFICATE)?.map(PathBuf::from),
        }))
    }
}

/// The variables that also have a form of their own for traces, which wins.
const ENDPOINT: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOL: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const HEADERS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];
const CERTIFICATE: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];

fn by_variables(env: Env<'_>) -> Result<Option<OtlpEndpoint>, OtlpError> {
    let [of_traces_alone, of_all] = ENDPOINT;
    let endpoint = if let Some(whole) = text(env, of_traces_alone)? {
        OtlpEndpoint::whole(&whole).ok_or(OtlpError::Endpoint(of_traces_alone))?
    } else if let Some(base) = text(env, of_all)? {
        base.parse().map_err(|()| OtlpError::Endpoint(of_all))?
    } else {
        return Ok(None);
    };
    match of_traces(env, PROTOCOL)? {
        Some(other) if other != "http/protobuf" => Err(OtlpError::Protocol(other)),
        _ => Ok(Some(endpoint)),
    }
}

/// What is said of the node: the attributes of the environment, with a name in any case.
fn resource(env: Env<'_>) -> Result<Vec<(String, String)>, OtlpError> {
    const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let given = text(env, ATTRIBUTES)?.unwrap_or_default();
    let mut resource = pairs(&given).ok_or(OtlpError::List(ATTRIBUTES))?;
    let name = text(env, "OTEL_SERVICE_NAME")?;
    let has_name = resource.iter().any(|(key, _)| key == "service.name");
    if name.is_some() || !has_name {
        resource.retain(|(key, _)| key != "service.name");
        let name = name.unwrap_or_else(|| "nanod".to_owned());
        resource.push(("service.name".to_owned(), name));
    }
    if !resource.iter().any(|(key, _)| key == "service.version") {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        resource.push(("service.version".to_owned(), version));
    }
    Ok(resource)
}

fn headers(env: Env<'_>) -> Result<HeaderMap, OtlpError> {
    let [_, named] = HEADERS;
    let given = of_traces(env, HEADERS)?.unwrap_or_default();
    let wrong = || OtlpError::List(named);
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(&given).ok_or_else(wrong)? {
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let value: HeaderValue = value.parse().map_err(|_| wrong())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// `key=value,key=value`, where values are percent-encoded.
fn pairs(list: &str) -> Option<Vec<(String, String)>> {
    let members = list
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), decoded(value.trim())?))
    };
    let pairs: Vec<_> = members.map(pair).collect::<Option<_>>()?;
    (pairs.len() <= MOST).then_some(pairs)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

fn of_traces(env: Env<'_>, names: [&'static str; 2]) -> Result<Option<String>, OtlpError> {
    let [own, common] = names;
    match text(env, own)? {
        Some(own) => Ok(Some(own)),
        None => text(env, common),
    }
}

/// A variable; one that is empty counts as unset, as OpenTelemetry has it.
fn text(env: Env<'_>, name: &'static str) -> Result<Option<String>, OtlpError> {
    let value = env(name).map(|value| value.into_string());
    let value = value.transpose().map_err(|_| OtlpError::NotText(name))?;
    Ok(value.filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{OtlpEndpoint, OtlpError, OtlpSettings};

    fn chosen(variables: &[(&str, &str)]) -> Result<Option<OtlpSettings>, OtlpError> {
        let value = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        OtlpSettings::choose(None, &value)
    }

    #[test]
    fn an_endpoint_is_a_base_unless_it_is_the_one_of_traces() {
        for (text, read) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("https://a.example/x/", "https://a.example/x/v1/traces"),
        ] {
            let endpoint: OtlpEndpoint = text.parse().expect("it is one");
            assert_eq!(endpoint.to_string(), read);
        }
        for text in [
            "",
            "a:4318",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "/v1/traces",
        ] {
            assert_eq!(text.parse::<OtlpEndpoint>(), Err(()), "{text}");
        }
        let whole = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:1/any?x")];
        let settings = chosen(&whole).expect("it is right").expect("it is given");
        assert_eq!(settings.endpoint.to_string(), "http://a:1/any?x");
    }

    #[test]
    fn the_environment_says_who_the_node_is() {
        assert!(chosen(&[]).expect("nothing is wrong").is_none());
        let settings = chosen(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x, zone=a%2Cb ,"),
            ("OTEL_SERVICE_NAME", "nano"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20t"),
        ]);
        let settings = settings.expect("it is right").expect("it is given");
        let of = |key: &str| {
            let found = settings.resource.iter().find(|(known, _)| known == key);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(
            (of("service.name"), of("zone")),
            (Some("nano"), Some("a,b"))
        );
        assert_eq!(settings.headers["api-key"], "s t");
        assert!(!format!("{settings:?}").contains("s t"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318");
        for (variable, value, said) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a", "OTEL_RESOURCE_ATTRIBUTES"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "a b=c",
                "OTEL_EXPORTER_OTLP_HEADERS",
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "a=%zz",
                "OTEL_EXPORTER_OTLP_HEADERS",
            ),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "a",
                "TRACES_ENDPOINT is not a URL",
            ),
        ] {
            let error = chosen(&[endpoint, (variable, value)]).expect_err(value);
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
