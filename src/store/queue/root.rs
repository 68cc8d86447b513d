//! The ends of a queue as content.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::entries::{Entries, Mode};
use super::super::error::StoreError;
use super::super::merge::Content;
use super::super::object::{Kind, ObjectId, Objects};
use super::element;
use super::node::{Item, Link, error, print};
use super::spine::{Ends, Spine};

const FRONT: &str = "front";
const REAR: &str = "rear";

/// Beyond the levels that a 64-bit hash can tell apart.
const MAX_LEVEL: usize = 16;

/// Writes a settled spine: as a blob if all of it is elements at hand, else as a tree.
pub fn write(objects: &dyn Objects, spine: &Spine) -> Result<Content, StoreError> {
    if spine.levels().len() <= 1 {
        return Ok(Content::blob(print(spine.items()).into_bytes()));
    }
    let mut entries = Entries::new();
    for (level, Ends { front, rear }) in spine.levels().iter().enumerate() {
        for (end, items) in [(FRONT, front), (REAR, rear)] {
            if level == 0 && !items.is_empty() {
                let id = objects.put(Kind::Blob, print(items.iter()).as_bytes())?;
                entries.insert(&format!("{end}0"), Mode::File, id);
            }
            for item in items.iter() {
                if let Item::Group(link) = item {
                    link.store(objects)?;
                    let name = format!("{end}{level},{}", link.entry_name());
                    entries.insert(&name, link.mode(), link.id);
                }
            }
        }
    }
    Ok(Content::Tree(entries.store(objects)?))
}

/// Reads a spine, which is settled, and refuses what is not the canonical form of one.
pub fn read(objects: &dyn Objects, content: &Content) -> Result<Spine, StoreError> {
    let levels = match content {
        Content::Blob(text) => read_blob(text)?,
        Content::Tree(id) => read_tree(objects, id)?,
    };
    Spine::from_levels(levels).ok_or_else(|| error("it is not cut where a queue is".to_owned()))
}

fn read_blob(text: &[u8]) -> Result<Vec<Ends>, StoreError> {
    let elements = element::parse(text).map_err(error)?;
    let mut front: VecDeque<Item> = elements.into_iter().map(Item::Element).collect();
    let ends = |item: &Item| element::level(item.last()) > 0;
    let rear = front.split_off(front.iter().position(ends).map_or(0, |end| end + 1));
    if front.is_empty() && rear.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Ends {
        front: Arc::new(front),
        rear: Arc::new(rear),
    }])
}

fn read_tree(objects: &dyn Objects, id: &ObjectId) -> Result<Vec<Ends>, StoreError> {
    let mut levels: Vec<(VecDeque<Item>, VecDeque<Item>)> = Vec::new();
    for entry in Entries::load(objects, id)?.iter() {
        let unknown = || error(format!("{:?} is no part of a queue", entry.name));
        let (rest, is_front) = match entry.name.strip_prefix(FRONT) {
            Some(rest) => (rest, true),
            None => (entry.name.strip_prefix(REAR).ok_or_else(unknown)?, false),
        };
        let (digits, group) = match rest.split_once(',') {
            Some((digits, group)) => (digits, Some(group)),
            None => (rest, None),
        };
        let level: usize = digits.parse().map_err(|_| unknown())?;
        if level > MAX_LEVEL || level.to_string() != digits {
            return Err(unknown());
        }
        if levels.len() <= level {
            levels.resize_with(level + 1, Default::default);
        }
        let (front, rear) = &mut levels[level];
        let end = if is_front { front } else { rear };
        match group {
            None if level == 0 && entry.mode == Mode::File => {
                let elements =
                    element::parse(&objects.expect(&entry.id, Kind::Blob)?).map_err(error)?;
                if elements.is_empty() {
                    return Err(unknown());
                }
                end.extend(elements.into_iter().map(Item::Element));
            }
            Some(group) if level > 0 => {
                end.push_back(Item::Group(Link::parse(
                    group, entry.mode, entry.id, level,
                )?));
            }
            _ => return Err(unknown()),
        }
    }
    if levels.len() <= 1 {
        return Err(error("it is short enough to be a file".to_owned()));
    }
    let ends = |(front, rear)| Ends {
        front: Arc::new(front),
        rear: Arc::new(rear),
    };
    Ok(levels.into_iter().map(ends).collect())
}
