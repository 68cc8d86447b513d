//! What goes over the wire besides JSON: objects, and batches of them.
//!
//! The body of `POST commit` is one line of JSON, `{"updates": [{"branch", "expected", "new"}, ...]}`, then the
//! objects one after the other, each in Git's canonical form `"<kind> <length>\0<bytes>"`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::backend::{Batch, NewObject, Update, UpdateResult};
use crate::store::error::StoreError;
use crate::store::object::{Kind, Object, ObjectId};
use crate::store::path::BranchName;
use crate::store::transaction::CommitError;

/// Branches and their heads.
pub type Refs = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
struct Header {
    updates: Vec<Move>,
}

#[derive(Serialize, Deserialize)]
struct Move {
    branch: String,
    expected: Option<String>,
    new: Option<String>,
}

/// What became of one update.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The branch moved, or stood elsewhere.
    Moved(bool),
    /// The new state breaks a rule, or the store failed.
    Refused(String),
}

impl Outcome {
    /// What the server tells of an update.
    pub fn of(result: Result<bool, CommitError>) -> Self {
        match result {
            Ok(moved) => Self::Moved(moved),
            Err(error) => Self::Refused(error.to_string()),
        }
    }

    /// What the client makes of it.
    pub fn into_result(self) -> UpdateResult {
        match self {
            Self::Moved(moved) => Ok(moved),
            Self::Refused(why) => Err(StoreError::Remote(Arc::from(why))),
        }
    }
}

/// Branches as the server lists them.
pub fn print_refs(heads: &[(BranchName, ObjectId)]) -> Refs {
    let lines = heads.iter();
    lines
        .map(|(branch, id)| (branch.to_string(), id.to_string()))
        .collect()
}

/// Branches as the client reads them, by name; `None` if these are none.
pub fn parse_refs(refs: Refs) -> Option<Vec<(BranchName, ObjectId)>> {
    let parsed = refs
        .into_iter()
        .map(|(branch, id)| Some((branch.parse().ok()?, id.parse().ok()?)));
    parsed.collect()
}

/// An object in canonical form.
pub fn encode_object(object: &Object, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{} {}\0", object.kind, object.data.len()).as_bytes());
    out.extend_from_slice(&object.data);
}

/// Takes one object off the front.
pub fn decode_object(bytes: &mut &[u8]) -> Option<Object> {
    let end = bytes.iter().take(32).position(|&byte| byte == 0)?;
    let header = std::str::from_utf8(&bytes[..end]).ok()?;
    let (kind, length) = header.split_once(' ')?;
    let kinds = [Kind::Blob, Kind::Tree, Kind::Commit];
    let kind = kinds.into_iter().find(|known| known.name() == kind)?;
    let (data, rest) = bytes[end + 1..].split_at_checked(length.parse().ok()?)?;
    *bytes = rest;
    Some(Object::new(kind, data))
}

/// A batch as the client sends it.
pub fn encode_batch(batch: &Batch) -> Vec<u8> {
    let updates = batch.updates.iter().map(|update| Move {
        branch: update.branch.to_string(),
        expected: update.expected.map(|id| id.to_string()),
        new: update.new.map(|id| id.to_string()),
    });
    let header = Header {
        updates: updates.collect(),
    };
    // Strings alone: this cannot fail.
    let mut out = serde_json::to_vec(&header).unwrap_or_default();
    out.push(b'\n');
    for new in &batch.objects {
        encode_object(&new.object, &mut out);
    }
    out
}

/// A batch as the server reads it; ids are computed, not believed. `None` if it is none.
pub fn decode_batch(body: &[u8]) -> Option<Batch> {
    let end = body.iter().position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(&body[..end]).ok()?;
    let id = |text: Option<String>| text.map(|text| text.parse()).transpose().ok();
    let updates = header.updates.into_iter().map(|update| {
        Some(Update {
            branch: update.branch.parse().ok()?,
            expected: id(update.expected)?,
            new: id(update.new)?,
        })
    });
    let updates = updates.collect::<Option<_>>()?;
    let (mut rest, mut objects) = (&body[end + 1..], Vec::new());
    while !rest.is_empty() {
        let object = decode_object(&mut rest)?;
        objects.push(NewObject {
            id: object.id(),
            object,
            like: None,
        });
    }
    Some(Batch { objects, updates })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_same_after_the_wire_and_damage_is_noticed() {
        let objects = [
            (Kind::Blob, &b"one\n\0"[..]),
            (Kind::Blob, b""),
            (Kind::Tree, b""),
        ];
        let objects = objects.map(|(kind, data)| {
            let object = Object::new(kind, data);
            NewObject {
                id: object.id(),
                object,
                like: None,
            }
        });
        let batch = Batch {
            objects: objects.to_vec(),
            updates: vec![Update {
                branch: BranchName::main(),
                expected: None,
                new: Some(objects[0].id),
            }],
        };
        let sent = encode_batch(&batch);
        let got = decode_batch(&sent).unwrap();
        assert_eq!(got.updates, batch.updates);
        let ids = |batch: &Batch| batch.objects.iter().map(|new| new.id).collect::<Vec<_>>();
        assert_eq!(ids(&got), ids(&batch));
        for length in 0..sent.len() {
            let cut = decode_batch(&sent[..length]);
            assert!(cut.is_none_or(|cut| cut.objects.len() < 3), "{length}");
        }
        assert!(decode_batch(b"{}\n").is_none());
        assert!(decode_batch(b"{\"updates\":[]}\nblob 5\0abc").is_none());
        assert!(decode_batch(b"{\"updates\":[]}\nblob 99999999999999999999\0abc").is_none());
    }
}
