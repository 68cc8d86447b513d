//! Walks over the graph of commits: ancestors, common ancestors, logs.
//!
//! Dates order the walks, for people and for speed. No answer other than the order of a log depends on
//! them, because the clocks of different nodes disagree.

use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use super::commit::Commit;
use super::directory::{Slot, Source, slot_at};
use super::error::StoreError;
use super::object::{IdMap, ObjectId};
use super::path::Path;

/// The lowest common ancestors of one commit and a set of others, in id order: commits both sides
/// descend from, none of which is an ancestor of another.
pub fn merge_bases(
    source: &dyn Source,
    one: &ObjectId,
    others: &[ObjectId],
) -> Result<Vec<ObjectId>, StoreError> {
    let common: Vec<ObjectId> = Painting::new(source, one, others)?.lowest_common();
    if common.len() < 2 {
        return Ok(common);
    }
    // A painting can leave an ancestor of another candidate when dates run backwards.
    let mut lowest = Vec::new();
    for candidate in &common {
        let rest: Vec<_> = common
            .iter()
            .filter(|id| *id != candidate)
            .copied()
            .collect();
        if !is_ancestor(source, candidate, &rest)? {
            lowest.push(*candidate);
        }
    }
    Ok(lowest)
}

/// Whether `ancestor` is one of `descendants`, or reachable from one through parents.
pub fn is_ancestor(
    source: &dyn Source,
    ancestor: &ObjectId,
    descendants: &[ObjectId],
) -> Result<bool, StoreError> {
    Ok(Painting::new(source, ancestor, descendants)?.flags(ancestor) & THEIRS != 0)
}

/// Commits from some heads on backwards, latest first. With a path, only those that changed what
/// stands there, following in a merge the parent that has the same there, as `git log -- path` does.
pub struct Log<'a> {
    source: &'a dyn Source,
    path: Path,
    queue: BinaryHeap<Pending>,
    seen: IdMap<()>,
}

impl<'a> Log<'a> {
    /// All commits that lead to the heads.
    pub fn new(
        source: &'a dyn Source,
        heads: impl IntoIterator<Item = ObjectId>,
    ) -> Result<Self, StoreError> {
        Self::of_path(source, heads, Path::root())
    }

    /// The commits that changed the value or the directory at `path`.
    pub fn of_path(
        source: &'a dyn Source,
        heads: impl IntoIterator<Item = ObjectId>,
        path: Path,
    ) -> Result<Self, StoreError> {
        let mut log = Self {
            source,
            path,
            queue: BinaryHeap::new(),
            seen: IdMap::default(),
        };
        for head in heads {
            log.push(head)?;
        }
        Ok(log)
    }

    fn push(&mut self, id: ObjectId) -> Result<(), StoreError> {
        if self.seen.insert(id, ()).is_none() {
            self.queue.push(Pending::new(self.source, id)?);
        }
        Ok(())
    }

    /// Puts the parents into the queue; says whether the commit belongs to the log.
    fn follow(&mut self, commit: &Commit) -> Result<bool, StoreError> {
        if !self.path.is_root() {
            let here = slot_at(self.source, &commit.tree, &self.path)?;
            for parent in &commit.parents {
                if self.slot(parent)? == here {
                    self.push(*parent)?;
                    return Ok(false);
                }
            }
            if commit.parents.is_empty() && here.is_none() {
                return Ok(false);
            }
        }
        commit
            .parents
            .iter()
            .try_for_each(|parent| self.push(*parent))?;
        Ok(true)
    }

    fn slot(&self, id: &ObjectId) -> Result<Option<Slot>, StoreError> {
        slot_at(self.source, &self.source.commit(id)?.tree, &self.path)
    }
}

impl Iterator for Log<'_> {
    type Item = Result<(ObjectId, Arc<Commit>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Pending { id, .. } = self.queue.pop()?;
            let step = self.source.commit(&id).and_then(|commit| {
                let shown = self.follow(&commit)?;
                Ok(shown.then_some((id, commit)))
            });
            match step {
                Ok(Some(item)) => return Some(Ok(item)),
                Ok(None) => (),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

const OURS: u8 = 1;
const THEIRS: u8 = 2;
/// Common to both sides and an ancestor of something common: not a lowest one.
const STALE: u8 = 4;

/// A commit waiting in a walk: latest date first, then highest id.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    seconds: i64,
    id: ObjectId,
}

impl Pending {
    fn new(source: &dyn Source, id: ObjectId) -> Result<Self, StoreError> {
        Ok(Self {
            seconds: source.commit(&id)?.committer.seconds,
            id,
        })
    }
}

/// Which of two sides reach a commit, painted from both downwards until nothing new can be found:
/// until only common ancestors are left to visit. Two histories that parted recently cost little, however long they are.
struct Painting {
    flags: IdMap<u8>,
    common: BTreeSet<ObjectId>,
}

impl Painting {
    fn new(source: &dyn Source, one: &ObjectId, others: &[ObjectId]) -> Result<Self, StoreError> {
        let mut painting = Self {
            flags: IdMap::default(),
            common: BTreeSet::new(),
        };
        let mut queue = Queue::default();
        let starts = std::iter::once((one, OURS)).chain(others.iter().map(|id| (id, THEIRS)));
        for (id, flag) in starts {
            painting.paint(source, &mut queue, id, flag)?;
        }
        while let Some(id) = queue.pop() {
            let mut flags = painting.flags(&id);
            if flags & (OURS | THEIRS) == OURS | THEIRS {
                painting.common.insert(id);
                flags |= STALE;
            }
            for parent in &source.commit(&id)?.parents {
                painting.paint(source, &mut queue, parent, flags)?;
            }
        }
        Ok(painting)
    }

    fn paint(
        &mut self,
        source: &dyn Source,
        queue: &mut Queue,
        id: &ObjectId,
        flags: u8,
    ) -> Result<(), StoreError> {
        let known = self.flags.entry(*id).or_default();
        if *known & flags != flags {
            *known |= flags;
            queue.push(Pending::new(source, *id)?, *known & STALE != 0);
        }
        Ok(())
    }

    fn flags(&self, id: &ObjectId) -> u8 {
        self.flags.get(id).copied().unwrap_or_default()
    }

    fn lowest_common(&self) -> Vec<ObjectId> {
        self.common
            .iter()
            .filter(|id| self.flags(id) & STALE == 0)
            .copied()
            .collect()
    }
}

/// Commits to visit; it ends when all that are left were stale when they came in.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Pending>,
    /// A commit may wait several times, once for each time its flags grew.
    stale: IdMap<usize>,
    fresh: usize,
}

impl Queue {
    fn push(&mut self, pending: Pending, stale: bool) {
        if stale {
            *self.stale.entry(pending.id).or_default() += 1;
        } else {
            self.fresh += 1;
        }
        self.heap.push(pending);
    }

    fn pop(&mut self) -> Option<ObjectId> {
        if self.fresh == 0 {
            return None;
        }
        let Pending { id, .. } = self.heap.pop()?;
        match self.stale.get_mut(&id).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => self.fresh -= 1,
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::commit::{Info, Signature};
    use crate::store::object::{EMPTY_TREE, MemoryObjects, Objects};
    use crate::store::tree::{Leaf, Tree};

    /// A graph of commits with one-letter names, made from lines `name date parents`.
    struct Graph {
        objects: MemoryObjects,
        ids: std::collections::BTreeMap<char, ObjectId>,
    }

    impl Graph {
        fn new(lines: &[(char, i64, &str)]) -> Self {
            let objects = MemoryObjects::new();
            let mut ids = std::collections::BTreeMap::new();
            for (name, seconds, parents) in lines {
                let parents = parents.chars().map(|parent| ids[&parent]).collect();
                let author = Signature::new("a", "", *seconds);
                let info = Info {
                    author,
                    message: name.to_string(),
                };
                let commit = Commit::new(EMPTY_TREE, parents, &info);
                ids.insert(*name, commit.store(&objects).unwrap());
            }
            Self { objects, ids }
        }

        fn bases(&self, one: char, others: &str) -> String {
            let others: Vec<_> = others.chars().map(|name| self.ids[&name]).collect();
            let bases = merge_bases(&self.objects, &self.ids[&one], &others).unwrap();
            assert!(bases.is_sorted());
            self.ids
                .iter()
                .filter(|(_, id)| bases.contains(id))
                .map(|(name, _)| name)
                .collect()
        }
    }

    #[test]
    fn lowest_common_ancestors() {
        let lines = [
            ('a', 1, ""),
            ('b', 2, "a"),
            ('c', 2, "a"),
            ('d', 3, "bc"),
            ('e', 3, "cb"),
            ('f', 9, "e"),
        ];
        let graph = Graph::new(&lines);
        assert_eq!(graph.bases('b', "c"), "a");
        assert_eq!(graph.bases('d', "f"), "bc");
        assert_eq!(graph.bases('b', "f"), "b");
        assert_eq!(graph.bases('f', "f"), "f");
        assert_eq!(graph.bases('a', "bc"), "a");
        assert_eq!(
            Graph::new(&[('a', 1, ""), ('b', 1, "")]).bases('a', "b"),
            ""
        );
    }

    /// The dates of one node run backwards: `x` is an ancestor of `y`, both are common, and the
    /// walk meets `x` first.
    #[test]
    fn wrong_clocks_do_not_change_the_answer() {
        let lines = [
            ('x', 100, ""),
            ('y', 1, "x"),
            ('a', 101, "yx"),
            ('b', 101, "xy"),
        ];
        assert_eq!(Graph::new(&lines).bases('a', "b"), "y");
        let lines = [('a', 9, ""), ('b', 1, "a"), ('c', 8, "b"), ('d', 2, "a")];
        let graph = Graph::new(&lines);
        assert_eq!(graph.bases('c', "d"), "a");
        let ancestor =
            |one, other| is_ancestor(&graph.objects, &graph.ids[&one], &[graph.ids[&other]]);
        assert!(ancestor('a', 'c').unwrap());
        assert!(ancestor('c', 'c').unwrap());
        assert!(!ancestor('c', 'a').unwrap());
        assert!(!ancestor('b', 'd').unwrap());
    }

    #[test]
    fn the_log_of_a_path_holds_the_commits_that_changed_it() {
        let objects = MemoryObjects::new();
        let (mut tree, mut parents, mut names) = (Tree::new(), Vec::new(), Vec::new());
        for (seconds, (path, text)) in [("a/b", "1"), ("c", "1"), ("a/b", "2"), ("a/b", "2")]
            .iter()
            .enumerate()
        {
            tree.set(&objects, &path.parse().unwrap(), &Leaf::plain(text))
                .unwrap();
            let author = Signature::new("a", "", seconds as i64);
            let info = Info {
                author,
                message: seconds.to_string(),
            };
            let commit = Commit::new(tree.write(&objects).unwrap(), parents, &info);
            parents = vec![commit.store(&objects).unwrap()];
            names.push(parents[0]);
        }
        let log = |path: &str| -> Vec<String> {
            let log = Log::of_path(&objects, parents.clone(), path.parse().unwrap()).unwrap();
            log.map(|item| item.unwrap().1.subject().to_owned())
                .collect()
        };
        assert_eq!(log(""), ["3", "2", "1", "0"]);
        assert_eq!(log("a"), ["2", "0"]);
        assert_eq!(log("c"), ["1"]);
        assert_eq!(log("x"), [""; 0]);
        assert!(objects.get(&names[0]).unwrap().is_some());
    }
}
