//! HTTP on the control core: REST, `/metrics`, `/healthz`.
//!
//! Two listeners speak it: the TCP address of `[node].metrics` for scrapers, which can only read, and
//! the Unix socket of `[node].control_socket`, which `rail` itself uses and which may also change
//! things.

mod listen;

use axum::Router;
use axum::routing::get;

use crate::control::rail::SharedRail;

pub use listen::{ListenError, Listeners};

/// Serves both listeners until the task is aborted.
pub async fn serve(listeners: Listeners, rail: SharedRail) {
    let (socket, metrics, _guard) = listeners.into_parts();
    let reading = Router::new()
        .route("/healthz", get(healthz))
        .with_state(rail);
    let control = axum::serve(socket, reading.clone());
    match metrics {
        Some(tcp) => {
            let scrape = axum::serve(tcp, reading);
            let _ = tokio::join!(async { control.await }, async { scrape.await });
        }
        None => {
            let _ = control.await;
        }
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}
