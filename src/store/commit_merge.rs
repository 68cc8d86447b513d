//! Merge of commits: which trees are merged, and what the merge commit is.
//!
//! # Guarantees
//!
//! - A merge commit depends only on its parents: they stand in id order, the author is fixed, the date
//!   is the later one. Two nodes that merge each other at the same time write the same commit.
//! - Merging a commit with its own ancestor yields the commit: histories that have met stay met.
//! - The answer is the same for either order, conflicts included, with the sides exchanged.
//! - Several lowest common ancestors are folded into one base in id order; a path whose fold
//!   conflicts has no base. Beyond [`MAX_BASES`] ancestors, there is no base at all.

use super::commit::{Commit, Signature};
use super::conflict::{Conflict, Validator};
use super::directory::Source;
use super::error::StoreError;
use super::history::merge_bases;
use super::merge::Authors;
use super::object::ObjectId;
use super::path::BranchName;
use super::tree::Tree;
use super::tree_merge::{MergedTree, merge_trees, merge_trees_by};
use super::types::Registry;

/// Most common ancestors that are folded: more come from no sane history, and cost a merge each.
pub const MAX_BASES: usize = 16;
/// How deep folds nest: the ancestors of ancestors may be several again.
const MAX_FOLDS: usize = 8;
/// Name and address of the author of merge commits.
const MERGE_AUTHOR: (&str, &str) = ("merge", "merge@localhost");

/// What a merge needs to know besides the commits.
#[derive(Clone, Copy)]
pub struct MergeContext<'a> {
    pub source: &'a dyn Source,
    pub registry: &'a Registry,
    pub validator: &'a dyn Validator,
    /// The branch the result is for; the validator is told.
    pub branch: &'a BranchName,
}

/// Either the merge, or why there is none.
pub type Merged<T> = Result<T, Box<Conflict>>;

impl MergeContext<'_> {
    /// The commit that unites two: one of them if it descends from the other, else a merge commit.
    pub fn merge_commits(
        &self,
        ours: &ObjectId,
        theirs: &ObjectId,
    ) -> Result<Merged<ObjectId>, StoreError> {
        let bases = merge_bases(self.source, ours, &[*theirs])?;
        if bases.contains(ours) {
            return Ok(Ok(*theirs));
        }
        if bases.contains(theirs) {
            return Ok(Ok(*ours));
        }
        let base = fold(self.source, self.registry, &bases, MAX_FOLDS)?;
        self.merge_at(base.as_ref(), ours, theirs)
    }

    /// The merge commit of two commits whose common tree is known.
    pub fn merge_at(
        &self,
        base: Option<&ObjectId>,
        ours: &ObjectId,
        theirs: &ObjectId,
    ) -> Result<Merged<ObjectId>, StoreError> {
        let (our, their) = (self.source.commit(ours)?, self.source.commit(theirs)?);
        let authors = Authors {
            ours: Some(our.author.name()),
            theirs: Some(their.author.name()),
        };
        let (our_tree, their_tree) = (&our.tree, &their.tree);
        let MergedTree { tree, conflicts } = merge_trees_by(
            self.source,
            self.registry,
            authors,
            base,
            our_tree,
            their_tree,
        )?;
        let conflict = |paths, violation| {
            Ok(Err(Box::new(Conflict {
                ours: *ours,
                theirs: *theirs,
                paths,
                violation,
            })))
        };
        if !conflicts.is_empty() {
            return conflict(conflicts, None);
        }
        let violation = self
            .validator
            .check(self.source, self.branch, &Tree::at(tree))?;
        if violation.is_some() {
            return conflict(Vec::new(), violation);
        }
        merge_commit(tree, (*ours, &our), (*theirs, &their))
            .store(&self.source)
            .map(Ok)
    }

    /// The merged tree of two commits neither of which descends from the other, with what conflicts in it.
    pub fn merge_trees_of(
        &self,
        ours: &ObjectId,
        theirs: &ObjectId,
    ) -> Result<MergedTree, StoreError> {
        let bases = merge_bases(self.source, ours, &[*theirs])?;
        let base = fold(self.source, self.registry, &bases, MAX_FOLDS)?;
        let (our, their) = (self.source.commit(ours)?, self.source.commit(theirs)?);
        let authors = Authors {
            ours: Some(our.author.name()),
            theirs: Some(their.author.name()),
        };
        let trees = (&our.tree, &their.tree);
        merge_trees_by(
            self.source,
            self.registry,
            authors,
            base.as_ref(),
            trees.0,
            trees.1,
        )
    }

    /// The commit that unites many heads. Merges in id order what remains when heads that are
    /// ancestors of others are left out, so that every node with the same heads writes the same commits.
    pub fn merge_heads(&self, heads: &[ObjectId]) -> Result<Merged<Option<ObjectId>>, StoreError> {
        let mut heads = heads.to_vec();
        heads.sort();
        heads.dedup();
        let mut united: Option<ObjectId> = None;
        for head in &heads {
            let others: Vec<_> = heads
                .iter()
                .filter(|other| *other != head)
                .copied()
                .collect();
            if super::history::is_ancestor(self.source, head, &others)? {
                continue;
            }
            united = Some(match united {
                None => *head,
                Some(ours) => match self.merge_commits(&ours, head)? {
                    Ok(merged) => merged,
                    Err(conflict) => return Ok(Err(conflict)),
                },
            });
        }
        Ok(Ok(united))
    }
}

/// The one tree that stands for several common ancestors, given in id order.
fn fold(
    source: &dyn Source,
    registry: &Registry,
    bases: &[ObjectId],
    depth: usize,
) -> Result<Option<ObjectId>, StoreError> {
    let Some((first, rest)) = bases.split_first() else {
        return Ok(None);
    };
    if bases.len() > MAX_BASES || depth == 0 {
        return Ok(None);
    }
    let mut folded = source.commit(first)?.tree;
    for (at, next) in rest.iter().enumerate() {
        let ancestors = merge_bases(source, next, &bases[..=at])?;
        let base = fold(source, registry, &ancestors, depth - 1)?;
        let tree = source.commit(next)?.tree;
        folded = merge_trees(source, registry, base.as_ref(), &folded, &tree)?.tree;
    }
    Ok(Some(folded))
}

fn merge_commit(tree: ObjectId, one: (ObjectId, &Commit), other: (ObjectId, &Commit)) -> Commit {
    let (first, second) = if one.0 < other.0 {
        (one.0, other.0)
    } else {
        (other.0, one.0)
    };
    let seconds = one.1.committer.seconds.max(other.1.committer.seconds);
    let author = Signature::new(MERGE_AUTHOR.0, MERGE_AUTHOR.1, seconds);
    Commit {
        tree,
        parents: vec![first, second],
        committer: author.clone(),
        author,
        message: format!("merge {first:.12} and {second:.12}\n"),
    }
}
