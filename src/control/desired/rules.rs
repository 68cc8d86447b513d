//! What a branch may hold: `main` a valid pool, others anything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::tree::{self, Fault, ROOTS};
use crate::pool::Pool;
use crate::store::conflict::{Validator, Violation};
use crate::store::directory::{Slot, Source, slot_at};
use crate::store::{BranchName, ObjectId, StoreError, Tree};

/// Pools kept, so that a commit that leaves the pool alone, and the rail that takes over what was
/// just checked, need not read it again.
const KEPT: usize = 16;

/// What stands at the places of a pool: equal places, equal pools.
type Places = [Option<Slot>; ROOTS.len()];

/// Pools with where they were found, the newest first.
type Known = VecDeque<(Places, Arc<Pool>)>;

/// Checks trees, and remembers the pools in them. Cheap to clone; clones share what they remember.
#[derive(Clone, Default)]
pub struct PoolRules {
    known: Arc<Mutex<Known>>,
}

impl PoolRules {
    /// The pool in a tree.
    pub fn pool(
        &self,
        source: &dyn Source,
        tree: &ObjectId,
    ) -> Result<Result<Arc<Pool>, Fault>, StoreError> {
        let mut places = Places::default();
        for (place, root) in places.iter_mut().zip(ROOTS) {
            if let Ok(root) = root.parse() {
                *place = slot_at(source, tree, &root)?;
            }
        }
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known()
            .iter()
            .find(|(other, _)| *other == places)
            .map(|(_, pool)| Arc::clone(pool));
        if let Some(pool) = found {
            return Ok(Ok(pool));
        }
        Ok(tree::read(source, tree)?.map(|pool| {
            let pool = Arc::new(pool);
            let mut known = known();
            known.truncate(KEPT - 1);
            known.push_front((places, Arc::clone(&pool)));
            pool
        }))
    }
}

impl Validator for PoolRules {
    fn check(
        &self,
        source: &dyn Source,
        branch: &BranchName,
        tree: &Tree,
    ) -> Result<Option<Violation>, StoreError> {
        if *branch != BranchName::main() {
            return Ok(None);
        }
        let id = tree.clone().write(source)?;
        let pool = self.pool(source, &id)?;
        Ok(pool.err().map(|fault| Violation {
            detail: fault.to_string(),
            rule: fault.message,
        }))
    }
}
