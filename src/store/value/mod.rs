//! The types of values, and how each merges.
//!
//! | tag | in Rust | what a merge does where both sides changed |
//! |---|---|---|
//! | `plain` | `Vec<u8>` | conflict |
//! | `register` | [`Register`] | the later stamp stands |
//! | `counter` | [`Counter`] | counts of different nodes add up |
//! | `set` | `BTreeSet<String>` | per element: one side's adding or removing counts |
//! | `map(T)` | `BTreeMap<String, T>` | per key, by the rule of `T`; removed and changed is a conflict |
//! | `option(T)` | `Option<T>` | by the rule of `T`; removed and changed is a conflict |
//! | `pair(T,U)` | `(T, U)` | each half by its own rule |
//! | `expiring` | [`Expiring`] | the later expiry, then the larger value |
//! | `expiring-map` | `BTreeMap<String, Expiring>` in [`ExpiringMap`] | per key as `expiring`; a change outlives a removal |
//! | `queue` | [`Queue`](super::queue::Queue) | popped is popped, pushed is pushed, order by stamp |
//! | `rope` | [`Rope`](super::rope::Rope) | edits of different places both apply |
//!
//! # Guarantees
//!
//! For every type: `merge(o, o, x) = x`, `merge(o, x, x) = x`, and `merge(o, a, b) = merge(o, b, a)`, conflicts and their
//! words included. Register, counter, set, expiring entry and map, and queue never conflict, and replicas that have seen the
//! same changes hold the same value in whatever order they pulled. (For sets and expiring maps: as long as no element is
//! removed *and* added again between two merges; then the order of pulling decides whether it is there.)
//!
//! All but queue and rope are one blob of canonical [text]. To add a type of one's own, implement
//! [`Value`](super::merge::Value) and [register](super::types::Registry::register) it.

pub mod counter;
pub mod expiring;
pub mod map;
pub mod option;
pub mod pair;
pub mod plain;
pub mod register;
pub mod set;
pub mod stamp;
pub mod text;

pub use counter::Counter;
pub use expiring::{Expiring, ExpiringMap};
pub use register::Register;
pub use stamp::{Clock, EndOfTime, Millis, Node, Stamp};

use std::sync::Arc;

use super::error::StoreError;
use super::merge::{Content, Merge, MergeError, Typed, Value, merge_content};
use super::object::Objects;
use super::types::{Registry, TypeTag};

/// Adds every type of this module to a registry.
pub fn register_all(registry: &mut Registry) {
    register_typed::<Register>(registry);
    register_typed::<Counter>(registry);
    register_typed::<set::Set>(registry);
    register_typed::<Expiring>(registry);
    register_typed::<ExpiringMap>(registry);
    register_typed::<super::queue::Queue>(registry);
    registry.register(super::rope::NAME, || super::rope::RopeRule);
    registry.register_with(
        map::NAME,
        Box::new(|arguments| match arguments {
            [value] => Some(Arc::new(map::MapRule::new(value.clone()))),
            _ => None,
        }),
    );
    registry.register_with(
        option::NAME,
        Box::new(|arguments| match arguments {
            [value] => Some(Arc::new(option::OptionRule::new(value.clone()))),
            _ => None,
        }),
    );
    registry.register_with(
        pair::NAME,
        Box::new(|arguments| match arguments {
            [first, second] => Some(Arc::new(pair::PairRule::new(first.clone(), second.clone()))),
            _ => None,
        }),
    );
}

/// Adds a type without arguments under its own tag.
fn register_typed<T: Value + 'static>(registry: &mut Registry) {
    registry.register(T::tag().name(), Typed::<T>::new as fn() -> Typed<T>);
}

/// The tag of a type of this library. Its name is a constant that is well formed, and how deep a Rust type nests is
/// known when it is written.
pub(super) fn tag(name: &str, arguments: Vec<TypeTag>) -> TypeTag {
    TypeTag::with(name, arguments).expect("types of values nest no deeper than tags may")
}

/// Merges values inside of values: the trivial cases first, then the rule.
fn merge_inner(
    rule: &dyn Merge,
    objects: &dyn Objects,
    base: Option<&Vec<u8>>,
    ours: &[u8],
    theirs: &[u8],
) -> Result<Vec<u8>, MergeError> {
    let base = base.map(|bytes| Content::blob(bytes.as_slice()));
    let merged = merge_content(
        rule,
        objects,
        base.as_ref(),
        &Content::blob(ours),
        &Content::blob(theirs),
    )?;
    Ok(inner_bytes(&merged)?)
}

/// The bytes of a value that is to stand inside another.
fn inner_bytes(content: &Content) -> Result<Vec<u8>, StoreError> {
    match content {
        Content::Blob(bytes) => Ok(bytes.to_vec()),
        Content::Tree(_) => Err(StoreError::value(
            "value inside another",
            "it is a directory; queues and ropes need a path of their own",
        )),
    }
}

/// Merges two typed values by a rule over contents, which is how a type with arguments merges.
fn merge_by<T: Value>(
    rule: &dyn Merge,
    objects: &dyn Objects,
    base: Option<&T>,
    ours: &T,
    theirs: &T,
) -> Result<T, MergeError> {
    let base = base.map(|value| value.write(objects)).transpose()?;
    let (ours, theirs) = (ours.write(objects)?, theirs.write(objects)?);
    let merged = merge_content(rule, objects, base.as_ref(), &ours, &theirs)?;
    Ok(T::read(objects, &merged)?)
}
