//! What is served where, and the description of it that programs read.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use utoipa::OpenApi;

use super::{
    AdminContext,
    api::{self, Problem},
    events,
    exposition::Format,
    guard::guard,
    health, page,
    scrape::scrape,
};

/// What needs no token off loopback.
const OPEN: [&str; 4] = ["/", "/livez", "/readyz", "/metrics"];

/// Where services are called.
pub(super) const CALL: &str = "/api/v1/call";

/// The files of the page need none either: they hold nothing of the node.
const PAGE: &str = "/page/";

/// Bytes of a request's body.
const BODY_LIMIT: usize = 4 * 1024;

/// Whether what is at a path is for everyone.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || path.starts_with(PAGE)
}

/// The description of what is served.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "nanod admin API",
        description = "How a node does. On loopback nothing has to be shown; off loopback /api wants a token.",
    ),
    paths(
        page::index,
        page::asset,
        health::livez,
        health::readyz,
        metrics,
        openapi,
        api::status,
        events::events,
        api::call::call,
        api::routes::routes,
        api::tree::tree,
        api::instances::instances,
        api::explain,
        api::history::history,
        api::log_level::log_level,
        api::log_level::set_log_level,
        api::log_level::post_log_level,
    ),
    components(schemas(events::StatusEvent, events::RoutesEvent, events::ActivityEvent, events::ChangesEvent)),
    modifiers(&Tokens),
    security((), ("token" = [])),
)]
struct Description;

struct Tokens;

impl utoipa::Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", bearer);
    }
}

fn routes() -> [(&'static str, MethodRouter<Arc<AdminContext>>); 15] {
    let level = get(api::log_level::log_level)
        .put(api::log_level::set_log_level)
        .post(api::log_level::post_log_level);
    let call_limit = DefaultBodyLimit::max(api::call::BODY_LIMIT);
    [
        (CALL, post(api::call::call).layer(call_limit)),
        ("/", get(page::index)),
        ("/page/{name}", get(page::asset)),
        ("/livez", get(health::livez)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(metrics)),
        ("/api/openapi.json", get(openapi)),
        ("/api/v1/status", get(api::status)),
        ("/api/v1/routes", get(api::routes::routes)),
        ("/api/v1/events", get(events::events)),
        ("/api/v1/tree", get(api::tree::tree)),
        ("/api/v1/instances", get(api::instances::instances)),
        ("/api/v1/explain", get(api::explain)),
        ("/api/v1/history", get(api::history::history)),
        ("/api/v1/log-level", level),
    ]
}

pub(super) fn router(context: Arc<AdminContext>) -> Router {
    let router = routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods)
        });
    router
        .fallback(async || {
            let message = "there is nothing here; /api/openapi.json lists what there is";
            Problem::new(StatusCode::NOT_FOUND, message.to_owned())
        })
        .method_not_allowed_fallback(async || {
            let message = "the method is none of those of this path";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, message.to_owned())
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(Arc::clone(&context), guard))
        .with_state(context)
}

/// The node's metrics
#[utoipa::path(get, path = "/metrics", tag = "metrics",
    responses(
        (status = 200, description = "OpenMetrics, or the older text of Prometheus if Accept names only that",
            body = String, content_type = "application/openmetrics-text"),
    ))]
async fn metrics(State(context): State<Arc<AdminContext>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|accept| accept.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    (content_type, scrape(&context, format)).into_response()
}

/// This description
#[utoipa::path(get, path = "/api/openapi.json", tag = "description",
    responses((status = 200, description = "OpenAPI 3", body = Object)))]
async fn openapi() -> Response {
    static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
        let description = Description::openapi().to_json();
        description.expect("a description of names and texts is JSON")
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, DESCRIPTION.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_has_each_path_that_is_served_and_no_other() {
        let described = Description::openapi().paths.paths;
        let described: BTreeSet<_> = described.keys().map(String::as_str).collect();
        let served: BTreeSet<_> = routes().map(|(path, _)| path).into();
        assert_eq!(described, served);
    }
}
