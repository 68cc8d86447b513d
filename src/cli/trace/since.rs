//! Since when a flow goes where it goes.

use std::sync::Arc;

use super::{TraceError, backend_name, why};
use crate::control::desired::Desired;
use crate::control::trace::{Answer, Flow, Tracer};
use crate::pool::Pool;
use crate::store::ObjectId;

/// How far back the commit is looked for that gave a flow its answer.
const MOST_COMMITS: usize = 10_000;

/// The commit that gave a flow its answer: the newest on the way of first parents before which the answer was
/// another. `None` beyond [`MOST_COMMITS`].
pub fn last_change(
    desired: &Desired,
    from: ObjectId,
    flow: &Flow,
    answer: &Answer,
) -> Result<Option<LastChange>, TraceError> {
    let wanted = (why(answer), backend_name(answer).map(str::to_owned));
    let mut at = from;
    let mut same: Option<Arc<Pool>> = None;
    for _ in 0..MOST_COMMITS {
        let commit = desired.store().commit(&at)?;
        let found = Some(LastChange {
            commit: at,
            date: commit.committer.seconds,
            author: commit.author.name().to_owned(),
            subject: commit.message.lines().next().unwrap_or_default().to_owned(),
        });
        let Some(parent) = commit.parents.first() else {
            return Ok(found);
        };
        match desired.pool(parent)? {
            Ok(pool) if same.as_ref().is_some_and(|same| Arc::ptr_eq(same, &pool)) => {}
            Ok(pool) => {
                let before = Tracer::of_pool(&pool, &[]).trace(flow)?;
                if (why(&before), backend_name(&before).map(str::to_owned)) != wanted {
                    return Ok(found);
                }
                same = Some(pool);
            }
            Err(_) => return Ok(found),
        }
        at = *parent;
    }
    Ok(None)
}

/// A commit as people are told of it.
pub struct LastChange {
    pub commit: ObjectId,
    /// Seconds since 1970.
    pub date: i64,
    pub author: String,
    pub subject: String,
}
