//! What a listener asks: the router, or for nearly all of what comes, inference at once.
//!
//! A POST to an inference route that no browser's page sent needs nothing of what is around the routes: no CORS, no match of
//! paths and methods, and none of the boxes and copies that each of these layers costs a request.

use crate::app::App;
use crate::http::openai::{self, inference};
use crate::http::{admin_router, after_panic, public_router};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, header};
use farebox_domain::ledger::Endpoint;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use tower::ServiceExt as _;

/// A listener's service.
#[derive(Clone)]
pub struct Front {
    router: Router,
    /// Whose inference is served at once; `None`: nobody's, all goes by the router.
    inference: Option<Arc<App>>,
}

type Served = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Front {
    /// Of the public listener.
    pub fn public(app: &Arc<App>) -> Self {
        Self {
            router: public_router(app),
            inference: Some(Arc::clone(app)),
        }
    }

    /// Of the admin listener.
    pub fn admin(app: &Arc<App>) -> Self {
        Self {
            router: admin_router(app),
            inference: None,
        }
    }

    /// Serves a request.
    pub fn serve(&self, request: Request<Incoming>) -> Served {
        let request = request.map(Body::new);
        match (&self.inference, straight(&request)) {
            (Some(app), Some(endpoint)) => {
                let app = Arc::clone(app);
                Box::pin(async move {
                    let serving = AssertUnwindSafe(inference::serve(&app, endpoint, request));
                    Ok(serving.catch_unwind().await.unwrap_or_else(after_panic))
                })
            }
            _ => Box::pin(self.router.clone().oneshot(request)),
        }
    }
}

/// The endpoint of a request that needs nothing of what is around the routes.
fn straight<B>(request: &Request<B>) -> Option<Endpoint> {
    let is_plain = request.method() == Method::POST && !request.headers().contains_key(header::ORIGIN);
    openai::inference_at(request.uri().path()).filter(|_| is_plain)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_post_to_an_inference_route_goes_past_the_router() {
        let at = |method: &str, path: &str, origin: Option<&str>| {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            straight(&request.body(()).unwrap())
        };
        assert_eq!(
            at("POST", "/v1/chat/completions", None),
            Some(Endpoint::ChatCompletions)
        );
        assert_eq!(
            at("POST", "/v1/openai/embeddings?x=y", None),
            Some(Endpoint::Embeddings)
        );
        assert_eq!(
            at("POST", "/v1/openai/completions", None),
            Some(Endpoint::Completions)
        );
        assert_eq!(at("GET", "/v1/completions", None), None);
        assert_eq!(at("POST", "/v1/completions", Some("https://app.example")), None);
        for path in [
            "/v1/completions/",
            "/v2/completions",
            "/completions",
            "/v1/models",
            "/v1/openai/v1/completions",
        ] {
            assert_eq!(at("POST", path, None), None, "{path}");
        }
    }
}
