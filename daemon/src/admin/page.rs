//! The status page: in come requests for its files, out go the files, which are in the program. They
//! hold nothing of the node; what the page shows it asks of the [API](super::api).

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::api::Problem;

/// The files; in a debug build they are read from the source folder whenever they are asked for.
#[derive(RustEmbed)]
#[folder = "src/admin/page/assets"]
struct Assets;

/// What the page may do: run its own files, and speak to who has served it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What a file is, by the end of its name.
const TYPES: [(&str, &str); 4] = [
    (".html", "text/html; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".svg", "image/svg+xml"),
];

/// The status page
#[utoipa::path(get, path = "/", tag = "page",
    responses((status = 200, description = "What a browser shows", body = String, content_type = "text/html")))]
pub(super) async fn index(headers: HeaderMap) -> Response {
    file("index.html", &headers)
}

/// A file of the status page
#[utoipa::path(get, path = "/page/{name}", tag = "page",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The file", body = String, content_type = "text/javascript"),
        (status = 304, description = "It is the one that the asker has, as If-None-Match says"),
        (status = 404, description = "There is none of this name", body = Problem),
    ))]
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    file(&name, &headers)
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let known = TYPES.iter().find(|(end, _)| name.ends_with(end));
    let found = known.and_then(|(_, content_type)| Some((Assets::get(name)?, *content_type)));
    let Some((file, content_type)) = found else {
        let message = "the page has no such file".to_owned();
        return Problem::new(StatusCode::NOT_FOUND, message).into_response();
    };
    let tag = tag(&file);
    let mut response = match is_known(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, content_type)], file.data).into_response(),
    };
    let of_response = response.headers_mut();
    let value = HeaderValue::from_static;
    of_response.insert(header::CONTENT_SECURITY_POLICY, value(POLICY));
    of_response.insert(header::REFERRER_POLICY, value("no-referrer"));
    of_response.insert(header::CACHE_CONTROL, value("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        of_response.insert(header::ETAG, tag);
    }
    response
}

/// Another one for each content.
fn tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let digits: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{digits}\"")
}

/// Whether the asker has the file already.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|tags| tags.to_str().ok());
    known.any(|tags| {
        let mut tags = tags.split(',').map(str::trim);
        tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    })
}
