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
    let answer = offer::take(&mut super::lock(&rail), &offer);
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
