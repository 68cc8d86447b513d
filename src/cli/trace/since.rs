//! Since when a flow goes where it goes.

use std::sync::Arc;

use super::{TraceError, backend_name, why};
use crate::control::desired::Desired;
use crate::control::trace::{Answer, Flow, Tracer};
use crate::pool::Pool;
use crate::store::ObjectId;

/// How far back the commit is looked for that gave a flow its answer.
const MOST_COMMITS: usize = 10_000;

/// The commit that gave a flow its answer: one that has it while none of its parents has. Of a merge's parents that
/// have it, the latest is followed. `None` beyond [`MOST_COMMITS`].
pub fn last_change(
    desired: &Desired,
    from: ObjectId,
    flow: &Flow,
    answer: &Answer,
) -> Result<Option<LastChange>, TraceError> {
    let mut same = Same {
        desired,
        flow,
        wanted: (why(answer), backend_name(answer).map(str::to_owned)),
        last: None,
    };
    let mut at = from;
    for _ in 0..MOST_COMMITS {
        let commit = desired.store().commit(&at)?;
        let mut before = None;
        for parent in &commit.parents {
            let date = desired.store().commit(parent)?.committer.seconds;
            if before.is_none_or(|(latest, _)| latest < date) && same.at(parent)? {
                before = Some((date, *parent));
            }
        }
        let Some((_, parent)) = before else {
            return Ok(Some(LastChange {
                commit: at,
                date: commit.committer.seconds,
                author: commit.author.name().to_owned(),
                subject: commit.message.lines().next().unwrap_or_default().to_owned(),
            }));
        };
        at = parent;
    }
    Ok(None)
}

/// Whether a flow has the same answer at other commits.
struct Same<'a> {
    desired: &'a Desired,
    flow: &'a Flow,
    wanted: (&'static str, Option<String>),
    /// The last pool that gave it.
    last: Option<Arc<Pool>>,
}

impl Same<'_> {
    fn at(&mut self, commit: &ObjectId) -> Result<bool, TraceError> {
        let Ok(pool) = self.desired.pool(commit)? else {
            return Ok(false);
        };
        if self
            .last
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, &pool))
        {
            return Ok(true);
        }
        let answer = Tracer::of_pool(&pool, &[]).trace(self.flow)?;
        let same = (why(&answer), backend_name(&answer).map(str::to_owned)) == self.wanted;
        if same {
            self.last = Some(pool);
        }
        Ok(same)
    }
}

/// A commit as people are told of it.
pub struct LastChange {
    pub commit: ObjectId,
    /// Seconds since 1970.
    pub date: i64,
    pub author: String,
    pub subject: String,
}
