//! `POST /v1/apply`: another configuration for the running rail.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::control::rail::SharedRail;
use crate::pool::{Environment, parse};

/// Where an [`Offer`] is posted.
pub const APPLY_PATH: &str = "/v1/apply";

/// A configuration file as its reader found it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Its name, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// What became of an [`Offer`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Applied {
    /// The rail runs with it now. If not, nothing has changed.
    pub applied: bool,
    /// Generation of the snapshot in force.
    pub generation: u64,
    /// Findings, one line each: `FILE:LINE:COLUMN: SEVERITY: MESSAGE (help: WAY OUT)`.
    pub findings: Vec<String>,
    /// Why a valid file was refused.
    pub refused: Option<String>,
}

pub(super) async fn apply(
    State(rail): State<SharedRail>,
    Json(offer): Json<Offer>,
) -> (StatusCode, Json<Applied>) {
    let mut rail = super::lock(&rail);
    let mut answer = Applied {
        generation: rail.snapshot().generation,
        ..Applied::default()
    };
    let parsed = parse(&offer.text, &offer.file, &Environment::this_machine());
    let (config, warnings) = match parsed {
        Ok(parsed) => parsed,
        Err(found) => {
            answer.findings = found.iter().map(ToString::to_string).collect();
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(answer));
        }
    };
    answer.findings = warnings.iter().map(ToString::to_string).collect();
    match rail.apply(config) {
        Ok(()) => {
            answer.applied = true;
            answer.generation = rail.snapshot().generation;
            tracing::info!(generation = answer.generation, "applied {}", offer.file);
            (StatusCode::OK, Json(answer))
        }
        Err(error) => {
            answer.refused = Some(error.to_string());
            (StatusCode::CONFLICT, Json(answer))
        }
    }
}
