//! HTTP on the control core: REST, `/metrics`, `/healthz`.
//!
//! Two listeners speak it: the TCP address of `[node].metrics` for scrapers, which can only read, and
//! the Unix socket of `[node].control_socket`, which `rail` itself uses and which may also change
//! things.

mod apply;
pub mod client;
pub mod git;
mod listen;
pub mod metrics;
mod plan;
pub mod store;
mod sync;
pub mod views;

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

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
pub use plan::{PLAN_PATH, POOL_PATH, Proposal};
pub use sync::SYNC_PATH;

/// Largest request: the largest configuration file, and a quarter more for what JSON escapes in it.
const MAX_BODY: usize = MAX_FILE as usize / 4 * 5;

/// Serves both listeners until the task is aborted.
pub async fn serve(listeners: Listeners, rail: SharedRail) {
    let (socket, metrics, _guard) = listeners.into_parts();
    let reading = reading();
    let changing = Router::new()
        .route(APPLY_PATH, post(apply::apply))
        .route(PLAN_PATH, post(plan::plan))
        .route(SYNC_PATH, post(sync::sync))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let mut control = reading.clone().merge(changing).with_state(rail.clone());
    let mut scrape = reading
        .route(APPLY_PATH, any(apply::refuse))
        .with_state(rail.clone());
    let following = lock(&rail).following().map(|following| {
        let store = following.desired().store().clone();
        let syncer = Arc::clone(following.syncer());
        (store, syncer, following.directory().to_owned())
    });
    if let Some((store, syncer, directory)) = following {
        // Whoever learns that a change is made can rely on the rail running with it.
        let follow: store::Then = Arc::new(move || lock(&rail).follow());
        control = control.merge(self::store::reading(store.clone()));
        control = control.merge(self::store::changing(store, Arc::clone(&follow)));
        scrape = scrape.merge(git::routes(
            directory,
            follow,
            Arc::new(move || syncer.nudged()),
        ));
    }
    let control = axum::serve(socket, control);
    match metrics {
        Some(tcp) => {
            let scrape = scrape.into_make_service_with_connect_info::<SocketAddr>();
            let scrape = axum::serve(tcp, scrape);
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
        .route(POOL_PATH, get(plan::pool))
        .route(
            "/v1/services",
            get(async |State(r)| show(r, views::services)),
        )
        .route(
            "/v1/backends",
            get(async |State(r)| show(r, views::backends)),
        )
        .route("/v1/store", get(async |State(r)| show(r, views::store)))
        .route("/v1/workers", get(async |State(r)| show(r, views::workers)))
        .route(
            "/v1/neighbors",
            get(async |State(r)| show(r, views::neighbors)),
        )
        .route("/v1/ports", get(async |State(r)| show(r, views::ports)))
        .route("/v1/peers", get(async |State(r)| show(r, views::peers)))
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
