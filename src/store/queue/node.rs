//! Groups of a queue as objects.
//!
//! A group of level 1 is a blob with a line for each element. A group of a higher level is a tree whose entries
//! are the groups one level below, named `<stamp of the last element>,<number of elements>`; since stamps
//! sort as their text does, Git's order of the entries is the queue's order.

use std::sync::Arc;

use super::super::entries::{Entries, Mode};
use super::super::error::StoreError;
use super::super::object::{Kind, ObjectId, Objects};
use super::super::value::Stamp;
use super::element::{self, Element};

/// The name of the type, and of what errors speak about.
pub const NAME: &str = "queue";

/// A group: everything its parent knows of it.
#[derive(Clone, Debug)]
pub struct Link {
    /// Stamp of the last element.
    pub last: Stamp,
    /// Number of elements.
    pub count: u64,
    pub id: ObjectId,
    /// At least 1.
    pub level: usize,
    /// The members, if it was made here; else they are in the store.
    members: Option<Arc<[Item]>>,
}

impl PartialEq for Link {
    /// Groups of one id and level are one group, wherever it is.
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.level) == (other.id, other.level)
    }
}

impl Eq for Link {}

/// One member of a queue's structure: an element, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Element(Element),
    Group(Link),
}

impl Item {
    /// The stamp of the last element.
    pub fn last(&self) -> &Stamp {
        match self {
            Self::Element(element) => &element.stamp,
            Self::Group(link) => &link.last,
        }
    }

    /// The level of the group; 0 for an element.
    pub fn level(&self) -> usize {
        match self {
            Self::Element(_) => 0,
            Self::Group(link) => link.level,
        }
    }

    /// Number of elements.
    pub fn count(&self) -> u64 {
        match self {
            Self::Element(_) => 1,
            Self::Group(link) => link.count,
        }
    }
}

impl Link {
    /// The name of its entry in a tree.
    pub fn entry_name(&self) -> String {
        format!("{},{}", self.last, self.count)
    }

    /// The mode of its entry in a tree.
    pub fn mode(&self) -> Mode {
        mode(self.level)
    }

    /// What a tree entry says of a group of this level.
    pub fn parse(name: &str, mode: Mode, id: ObjectId, level: usize) -> Result<Self, StoreError> {
        let parsed = name.rsplit_once(',').and_then(|(stamp, count)| {
            let link = Self {
                last: stamp.parse().ok()?,
                count: count.parse().ok()?,
                id,
                level,
                members: None,
            };
            (link.entry_name() == name && mode == link.mode()).then_some(link)
        });
        parsed.ok_or_else(|| error(format!("its entry {name:?} is no group of level {level}")))
    }

    /// The group of these members, which are of the level below, in order; the last one, given apart, ends the group.
    pub fn new(mut members: Vec<Item>, last: Item, level: usize) -> Self {
        let stamp = last.last().clone();
        members.push(last);
        let (kind, data) = encode(&members, level);
        Self {
            last: stamp,
            count: members.iter().map(Item::count).sum(),
            id: ObjectId::of(kind, &data),
            level,
            members: Some(members.into()),
        }
    }

    /// Writes what is not in the store yet.
    pub fn store(&self, objects: &dyn Objects) -> Result<(), StoreError> {
        // Where a group is, its members are.
        if let Some(members) = &self.members
            && objects.get(&self.id)?.is_none()
        {
            for member in members.iter() {
                if let Item::Group(link) = member {
                    link.store(objects)?;
                }
            }
            let (kind, data) = encode(members, self.level);
            objects.put(kind, &data)?;
        }
        Ok(())
    }

    /// Reads the members, and checks that they are the group this link names: in order, as many, and that it ends
    /// at its last member and nowhere else.
    pub fn load(&self, objects: &dyn Objects) -> Result<Vec<Item>, StoreError> {
        if let Some(members) = &self.members {
            return Ok(members.to_vec());
        }
        let members: Vec<Item> = if self.level == 1 {
            let text = objects.expect(&self.id, Kind::Blob)?;
            let elements = element::parse(&text)
                .map_err(|detail| error(format!("group {}: {detail}", self.id)))?;
            elements.into_iter().map(Item::Element).collect()
        } else {
            let entries = Entries::load(objects, &self.id)?;
            let link = |entry: super::super::entries::Entry<'_>| {
                Link::parse(entry.name, entry.mode, entry.id, self.level - 1).map(Item::Group)
            };
            entries.iter().map(link).collect::<Result<_, _>>()?
        };
        let fits = members.last().map(Item::last) == Some(&self.last)
            && checked_count(&members) == Some(self.count)
            && check_members(&members, self.level - 1, true);
        if !fits {
            return Err(error(format!(
                "group {} is not what its name {:?} says",
                self.id,
                self.entry_name()
            )));
        }
        Ok(members)
    }
}

/// The object of a group.
fn encode(members: &[Item], level: usize) -> (Kind, Vec<u8>) {
    if level == 1 {
        return (Kind::Blob, print(members).into_bytes());
    }
    let mut entries = Entries::new();
    for item in members {
        if let Item::Group(link) = item {
            entries.insert(&link.entry_name(), link.mode(), link.id);
        }
    }
    (Kind::Tree, entries.encode().to_vec())
}

/// The text of those items that are elements.
pub fn print<'a>(items: impl IntoIterator<Item = &'a Item>) -> String {
    element::print(items.into_iter().filter_map(|item| match item {
        Item::Element(element) => Some(element),
        Item::Group(_) => None,
    }))
}

/// Whether members of `level` are what stands in one group, or, if not `closed`, in one that has not ended yet.
pub fn check_members(members: &[Item], level: usize, closed: bool) -> bool {
    let ascending = members
        .windows(2)
        .all(|pair| pair[0].last() < pair[1].last());
    let ends = |item: &Item| element::level(item.last());
    let inner = members.len() - usize::from(closed && !members.is_empty());
    ascending
        && members
            .iter()
            .all(|item| item.level() == level && ends(item) >= level)
        && members[..inner].iter().all(|item| ends(item) == level)
        && members[inner..].iter().all(|item| ends(item) > level)
}

/// The number of elements, unless it is not even a number.
pub fn checked_count(members: &[Item]) -> Option<u64> {
    members
        .iter()
        .try_fold(0_u64, |sum, item| sum.checked_add(item.count()))
}

/// The mode of a group's entry.
fn mode(level: usize) -> Mode {
    if level == 1 {
        Mode::File
    } else {
        Mode::Directory
    }
}

/// A queue that is not well formed.
pub fn error(detail: String) -> StoreError {
    StoreError::value(NAME, detail)
}
