//! The store over HTTP: what [`RestBackend`](crate::store::rest::RestBackend) speaks to.
//!
//! Every handler works on a thread of its own: a commit waits for the disk, and the control core must not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::store::backend::Update;
use crate::store::rest::{BASE, wire};
use crate::store::{BranchName, ObjectId, Store, StoreError};

/// Largest batch of objects: several times the largest pool.
const MAX_BATCH: usize = 256 << 20;

/// The routes that read a store, for everybody who may read.
pub fn reading(store: Store) -> Router {
    Router::new()
        .route(&format!("{BASE}/objects/{{id}}"), get(object))
        .route(&format!("{BASE}/refs"), get(refs))
        .route(&format!("{BASE}/remotes"), get(remotes))
        .route(&format!("{BASE}/lookup"), get(lookup))
        .route(&format!("{BASE}/boundary"), get(boundary))
        .with_state(store)
}

/// What is done after a commit, before it is acknowledged.
pub type Then = Arc<dyn Fn() + Send + Sync>;

/// The routes that change a store.
pub fn changing(store: Store, then: Then) -> Router {
    let commit = async move |State(store), body| {
        let answer = commit(store, body).await?;
        then();
        Ok::<_, Failure>(answer)
    };
    Router::new()
        .route(&format!("{BASE}/commit"), post(commit))
        .route(&format!("{BASE}/boundary"), post(set_boundary))
        .route(&format!("{BASE}/gc"), post(collect_garbage))
        .layer(DefaultBodyLimit::max(MAX_BATCH))
        .with_state(store)
}

type Answer = Result<Response, Failure>;

/// What went wrong, and whose fault it is.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

fn bad(message: &str) -> Failure {
    Failure(StatusCode::BAD_REQUEST, message.to_owned())
}

/// Does `work` where it may wait.
async fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        ))
    })
}

async fn object(State(store): State<Store>, Path(id): Path<String>) -> Answer {
    blocking(move || {
        let id: ObjectId = id.parse().map_err(|_| bad("not an object id"))?;
        let object = store.backend().get(&id)?;
        let object = object.ok_or(Failure(StatusCode::NOT_FOUND, "no such object".into()))?;
        let mut body = Vec::new();
        wire::encode_object(&object, &mut body);
        Ok(body.into_response())
    })
    .await
}

#[derive(Deserialize)]
struct Which {
    branch: Option<String>,
}

async fn refs(State(store): State<Store>, Query(which): Query<Which>) -> Answer {
    blocking(move || {
        let heads = match which.branch {
            None => store.branches()?,
            Some(name) => {
                let branch = name.parse().map_err(|_| bad("not a branch name"))?;
                let head = store.branch(&branch).head()?;
                head.map(|id| (branch, id)).into_iter().collect()
            }
        };
        Ok(Json(wire::print_refs(&heads)).into_response())
    })
    .await
}

async fn remotes(State(store): State<Store>) -> Answer {
    blocking(move || {
        let heads = store.backend().remote_heads()?.into_iter();
        let heads = heads.map(|(remote, branch, id)| (remote, branch.to_string(), id.to_string()));
        Ok(Json(heads.collect::<Vec<_>>()).into_response())
    })
    .await
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

async fn lookup(State(store): State<Store>, Query(Text { text }): Query<Text>) -> Answer {
    blocking(move || {
        let id = store.backend().lookup(&text)?;
        let found = BTreeMap::from([("commit", id.map(|id| id.to_string()))]);
        Ok(Json(found).into_response())
    })
    .await
}

async fn boundary(State(store): State<Store>) -> Answer {
    blocking(move || {
        let boundary = store.backend().boundary()?;
        let mut ids: Vec<String> = boundary.keys().map(ToString::to_string).collect();
        ids.sort();
        Ok(Json(ids).into_response())
    })
    .await
}

async fn commit(store: Store, body: Bytes) -> Answer {
    blocking(move || {
        let batch = wire::decode_batch(&body).ok_or_else(|| bad("not a batch of objects"))?;
        let deletes_main =
            |update: &Update| update.branch == BranchName::main() && update.new.is_none();
        if batch.updates.iter().any(deletes_main) {
            return Err(bad("main is the pool: it cannot be deleted"));
        }
        let outcomes = store.accept(&batch)?.into_iter().map(wire::Outcome::of);
        Ok(Json(outcomes.collect::<Vec<_>>()).into_response())
    })
    .await
}

async fn set_boundary(State(store): State<Store>, body: Bytes) -> Answer {
    blocking(move || {
        let ids: Option<Vec<String>> = serde_json::from_slice(&body).ok();
        let ids = ids.and_then(|ids| ids.iter().map(|id| id.parse().ok()).collect());
        let ids: Vec<ObjectId> = ids.ok_or_else(|| bad("not a list of object ids"))?;
        store.set_boundary(&ids)?;
        Ok("".into_response())
    })
    .await
}

#[derive(Deserialize)]
struct Grace {
    grace: u64,
}

async fn collect_garbage(
    State(store): State<Store>,
    Query(Grace { grace }): Query<Grace>,
) -> Answer {
    blocking(move || {
        store.collect_garbage(Duration::from_secs(grace))?;
        Ok("".into_response())
    })
    .await
}
