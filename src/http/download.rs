//! Answers that are no JSON: CSV for a spreadsheet, HTML for the eye.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, header};

static NEXT_PAGE: HeaderName = HeaderName::from_static("x-farebox-next-page");
/// What a page of ours may do: show itself. It loads nothing and runs nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// CSV to be saved under this name, which is ours or made of letters, digits and hyphens.
pub fn csv(file_name: &str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8"),
    );
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\""));
    headers.extend(disposition.ok().map(|value| (header::CONTENT_DISPOSITION, value)));
    response
}

/// A page.
pub fn html(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same answer, with where its next page begins in a header, as CSV has no place for it.
pub fn next_page(mut response: Response<Body>, next: Option<String>) -> Response<Body> {
    let value = next.and_then(|next| HeaderValue::from_str(&next).ok());
    response
        .headers_mut()
        .extend(value.map(|value| (NEXT_PAGE.clone(), value)));
    response
}
