//! A store of another process, over HTTP: the same interface as every back end.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/store/objects/ID` | the object in Git's canonical form, `"<kind> <length>\0<bytes>"` |
//! | `GET /v1/store/refs[?branch=NAME]` | `{"main": ID, ...}` |
//! | `GET /v1/store/remotes` | `[[remote, branch, ID], ...]` |
//! | `GET /v1/store/lookup?text=TEXT` | the ID people mean by `main~3` or the start of an id |
//! | `GET`, `POST /v1/store/boundary` | the commits whose parents are cut off: `[ID, ...]` |
//! | `POST /v1/store/commit` | see [`wire`]: whether each branch moved, or why that was refused |
//! | `POST /v1/store/gc?grace=SECONDS` | drops what no branch leads to |
//!
//! # Guarantees
//!
//! Those of the back end on the other side: what is acknowledged is as durable as it makes anything. What was received
//! is checked against its id, so neither side can be made to take a wrong object. If the connection breaks
//! while a commit is under way, whether the branch moved is found out by reading it.

mod http;
pub mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Answer, Http};

use super::backend::{Backend, Batch, IdSet, UpdateResult};
use super::error::StoreError;
use super::object::{Object, ObjectId};
use super::path::BranchName;
pub use http::Address;

/// Where the routes of a store begin.
pub const BASE: &str = "/v1/store";

/// A store of another process.
pub struct RestBackend {
    http: Http,
}

impl RestBackend {
    /// The store served at `address`. Fails if nobody is there, or has no store.
    pub fn connect(address: Address) -> Result<Self, StoreError> {
        let backend = Self {
            http: Http::new(address)?,
        };
        backend.heads()?;
        Ok(backend)
    }

    fn get_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, StoreError> {
        let answer = self.http.get(&format!("{BASE}/{path}"))?;
        self.json(path, &self.expect(path, answer)?)
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<T, StoreError> {
        serde_json::from_slice(body).map_err(|error| self.http.error(path, error))
    }

    /// The body, if the answer is a success.
    fn expect(&self, path: &str, answer: Answer) -> Result<Vec<u8>, StoreError> {
        match answer.status {
            200 => Ok(answer.body),
            404 if path.starts_with("refs") => Err(self.http.error(path, "it has no store")),
            _ => Err(StoreError::Remote(Arc::from(
                String::from_utf8_lossy(&answer.body).trim(),
            ))),
        }
    }

    fn post(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let answer = self.http.post(&format!("{BASE}/{path}"), body)?;
        self.expect(path, answer)
    }
}

impl Backend for RestBackend {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        let path = format!("objects/{id}");
        let answer = self.http.get(&format!("{BASE}/{path}"))?;
        if answer.status == 404 {
            return Ok(None);
        }
        let body = self.expect(&path, answer)?;
        match wire::decode_object(&mut body.as_slice()) {
            Some(object) if object.id() == *id => Ok(Some(object)),
            _ => Err(self.http.error(&path, "the answer is another object")),
        }
    }

    fn head(&self, branch: &BranchName) -> Result<Option<ObjectId>, StoreError> {
        let path = format!("refs?branch={}", http::escape(branch.as_str()));
        let heads: wire::Refs = self.get_json(&path)?;
        wire::parse_refs(heads)
            .map(|heads| heads.into_iter().next().map(|(_, id)| id))
            .ok_or_else(|| {
                self.http
                    .error(&path, "the answer is not a list of branches")
            })
    }

    fn heads(&self) -> Result<Vec<(BranchName, ObjectId)>, StoreError> {
        let heads: wire::Refs = self.get_json("refs")?;
        wire::parse_refs(heads).ok_or_else(|| {
            self.http
                .error("refs", "the answer is not a list of branches")
        })
    }

    fn commit(&self, batch: &Batch) -> Result<Vec<UpdateResult>, StoreError> {
        let body = self.post("commit", wire::encode_batch(batch))?;
        let outcomes: Vec<wire::Outcome> = self.json("commit", &body)?;
        if outcomes.len() != batch.updates.len() {
            return Err(self
                .http
                .error("commit", "the answer is about other branches"));
        }
        Ok(outcomes
            .into_iter()
            .map(wire::Outcome::into_result)
            .collect())
    }

    fn remote_heads(&self) -> Result<Vec<(String, BranchName, ObjectId)>, StoreError> {
        let heads: Vec<(String, String, String)> = self.get_json("remotes")?;
        let parsed = heads
            .into_iter()
            .map(|(remote, branch, id)| Some((remote, branch.parse().ok()?, id.parse().ok()?)));
        let parsed: Option<_> = parsed.collect();
        parsed.ok_or_else(|| {
            self.http
                .error("remotes", "the answer is not a list of branches")
        })
    }

    fn lookup(&self, text: &str) -> Result<Option<ObjectId>, StoreError> {
        let path = format!("lookup?text={}", http::escape(text));
        let found: BTreeMap<String, Option<String>> = self.get_json(&path)?;
        let id = found.into_values().next().flatten();
        id.map(|id| id.parse())
            .transpose()
            .map_err(|error| self.http.error(&path, error))
    }

    fn boundary(&self) -> Result<Arc<IdSet>, StoreError> {
        let ids: Vec<String> = self.get_json("boundary")?;
        let ids: Result<IdSet, _> = ids.iter().map(|id| Ok((id.parse()?, ()))).collect();
        ids.map(Arc::new)
            .map_err(|error: super::object::ParseIdError| self.http.error("boundary", error))
    }

    fn set_boundary(&self, boundary: &[ObjectId]) -> Result<(), StoreError> {
        let ids: Vec<String> = boundary.iter().map(ToString::to_string).collect();
        let body = serde_json::to_vec(&ids).map_err(|error| self.http.error("boundary", error))?;
        self.post("boundary", body).map(drop)
    }

    fn collect_garbage(&self, grace: Duration) -> Result<(), StoreError> {
        let path = format!("gc?grace={}", grace.as_secs());
        self.post(&path, Vec::new()).map(drop)
    }
}

/// The address of a rail's control socket.
impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}
