//! HTTP on the control core: REST, `/metrics`, `/healthz`.
//!
//! Two listeners speak it: the TCP address of `[node].metrics` for scrapers, which can only read, and
//! the Unix socket of `[node].control_socket`, which `rail` itself uses and which may also change
//! things.

mod apply;
pub mod client;
mod listen;
pub mod metrics;
pub mod views;

use std::sync::{MutexGuard, PoisonError};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};

use crate::control::health::Health;
use crate::control::rail::{Rail, SharedRail};
use crate::pool::MAX_FILE;

pub use crate::control::offer::{Applied, Offer};
pub use apply::APPLY_PATH;
pub use listen::{ListenError, Listeners};

/// Largest request: the largest configuration file, and a quarter more for what JSON escapes in it.
const MAX_BODY: usize = MAX_FILE as usize / 4 * 5;

/// Serves both listeners until the task is aborted.
pub async fn serve(listeners: Listeners, rail: SharedRail) {
    let (socket, metrics, _guard) = listeners.into_parts();
    let reading = reading();
    let changing = Router::new()
        .route(APPLY_PATH, post(apply::apply))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let control = reading.clone().merge(changing).with_state(rail.clone());
    let control = axum::serve(socket, control);
    match metrics {
        Some(tcp) => {
            let scrape = reading.route(APPLY_PATH, any(apply::refuse));
            let scrape = axum::serve(tcp, scrape.with_state(rail));
            let _ = tokio::join!(async { control.await }, async { scrape.await });
        }
        None => {
            let _ = control.await;
        }
    }
}

fn reading() -> Router<SharedRail> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(scrape))
        .route(
            "/v1/services",
            get(async |State(r)| show(r, views::services)),
        )
        .route(
            "/v1/backends",
            get(async |State(r)| show(r, views::backends)),
        )
        .route("/v1/workers", get(async |State(r)| show(r, views::workers)))
        .route(
            "/v1/neighbors",
            get(async |State(r)| show(r, views::neighbors)),
        )
        .route("/v1/ports", get(async |State(r)| show(r, views::ports)))
}

/// 200 and `ok`, or 503 and what is wrong, a line each.
async fn healthz(State(rail): State<SharedRail>) -> (StatusCode, String) {
    let health = Health::of(&lock(&rail));
    if health.is_well() {
        let notes = health.notes.iter().map(|note| format!("{note}\n"));
        (StatusCode::OK, format!("ok\n{}", notes.collect::<String>()))
    } else {
        let lines = health.problems.join("\n") + "\n";
        (StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}

async fn scrape(State(rail): State<SharedRail>) -> Response {
    let text = metrics::text(&lock(&rail));
    match text {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn show<V>(rail: SharedRail, view: impl Fn(&Rail) -> V) -> Json<V> {
    Json(view(&lock(&rail)))
}

/// The control core is one thread, so nobody waits here; a panic of another task changes nothing.
fn lock(rail: &SharedRail) -> MutexGuard<'_, Rail> {
    rail.lock().unwrap_or_else(PoisonError::into_inner)
}
