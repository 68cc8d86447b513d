//! `POST /v1/plan`: what another pool would do to this rail; `GET /v1/pool`: the one it has.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::control::plan::Plan;
use crate::control::rail::SharedRail;
use crate::pool::{parse_pool, to_toml};

/// Where a [`Proposal`] is posted; the answer is a [`Plan`].
pub const PLAN_PATH: &str = "/v1/plan";
/// The pool that runs, as the text of a configuration file.
pub const POOL_PATH: &str = "/v1/pool";

/// A pool that somebody thinks of.
#[derive(Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// Its name, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
}

pub(super) async fn plan(
    State(rail): State<SharedRail>,
    Json(proposal): Json<Proposal>,
) -> Result<Json<Plan>, (StatusCode, String)> {
    let (pool, _) = parse_pool(&proposal.text, &proposal.file).map_err(|found| {
        let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
        (StatusCode::UNPROCESSABLE_ENTITY, lines.join("\n"))
    })?;
    let rail = super::lock(&rail);
    let plan = Plan::new(&rail.config().pool, &pool).and_then(|mut plan| {
        plan.count_connections(&rail, &pool)?;
        Ok(plan)
    });
    plan.map(Json)
        .map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

pub(super) async fn pool(State(rail): State<SharedRail>) -> String {
    to_toml(&super::lock(&rail).config().pool)
}
