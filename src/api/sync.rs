//! `POST /v1/sync`: fetch from the store's remotes now, and merge.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::control::desired::sync::Synced;
use crate::control::rail::SharedRail;

/// Where a round is asked for; the answer is a list of [`Synced`].
pub const SYNC_PATH: &str = "/v1/sync";

pub(super) async fn sync(
    State(rail): State<SharedRail>,
) -> Result<Json<Vec<Synced>>, (StatusCode, String)> {
    let syncer = super::lock(&rail).following().map(|f| f.syncer().clone());
    let syncer = syncer.ok_or((StatusCode::NOT_FOUND, "this rail has no store".to_owned()))?;
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, error);
    let round = tokio::task::spawn_blocking(move || syncer.round()).await;
    let synced = round.map_err(|error| failed(error.to_string()))?;
    super::lock(&rail).follow();
    synced.map(Json).map_err(|error| failed(error.to_string()))
}
