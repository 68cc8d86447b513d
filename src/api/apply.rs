//! `POST /v1/apply`: another configuration for the running rail.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::control::offer::{self, Applied, Offer};
use crate::control::rail::SharedRail;

/// Where an [`Offer`] is posted.
pub const APPLY_PATH: &str = "/v1/apply";

pub(super) async fn apply(
    State(rail): State<SharedRail>,
    Json(offer): Json<Offer>,
) -> (StatusCode, Json<Applied>) {
    // On a thread that may wait for the disk; the control core goes on meanwhile.
    let taken = tokio::task::spawn_blocking(move || offer::take(&rail, &offer)).await;
    let answer = taken.unwrap_or_else(|error| Applied {
        refused: Some(error.to_string()),
        ..Applied::default()
    });
    let status = match (answer.applied, &answer.refused) {
        (true, _) => StatusCode::OK,
        (false, Some(_)) => StatusCode::CONFLICT,
        (false, None) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Json(answer))
}

/// What the listener for scrapers says to everybody.
pub(super) async fn refuse() -> (StatusCode, &'static str) {
    let why =
        "this address only answers questions: use \"rail apply FILE\" on the rail's machine\n";
    (StatusCode::FORBIDDEN, why)
}
