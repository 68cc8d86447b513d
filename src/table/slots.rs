//! The slots of a Maglev table, in as little memory as can be: the tables of many services are more than a core's
//! caches, and what it keeps of address translations, can hold.

use std::sync::Arc;

use crate::hw;

/// Most backends whose numbers take a byte each.
const NARROW: usize = 1 << u8::BITS;

/// The numbers of the backends that have a table's slots: a byte each where there are no more than 256 backends,
/// else two, the lower one first.
///
/// A table's size is an odd number, so that the number of bytes says which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots(Arc<[u8]>);

impl Slots {
    /// The slots of a table over so many backends.
    pub fn new(slots: &[u16], backends: usize) -> Self {
        Slots(if backends <= NARROW {
            slots.iter().map(|&slot| slot as u8).collect()
        } else {
            slots.iter().flat_map(|slot| slot.to_le_bytes()).collect()
        })
    }

    #[inline(always)]
    fn is_narrow(&self) -> bool {
        self.0.len() & 1 != 0
    }

    /// How many there are. A table's size is 32 bits.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        if self.is_narrow() {
            self.0.len() as u32
        } else {
            (self.0.len() / 2) as u32
        }
    }

    /// Whether there are none, as no backend has any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The backend that has a slot, or `None` behind the last one.
    #[inline(always)]
    pub fn get(&self, slot: u32) -> Option<u16> {
        let slot = slot as usize;
        if self.is_narrow() {
            self.0.get(slot).map(|&backend| backend.into())
        } else {
            let bytes = self.0.get(2 * slot..2 * slot + 2)?;
            Some(u16::from_le_bytes([bytes[0], bytes[1]]))
        }
    }

    /// Asks for a slot, some time before it is read.
    #[inline(always)]
    pub fn prefetch(&self, slot: u32) {
        let at = (slot as usize) << (!self.0.len() & 1);
        hw::prefetch_near(self.0.as_ptr().wrapping_add(at));
    }

    /// The backends of all slots, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..self.len()).filter_map(|slot| self.get(slot))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_slot_is_what_it_was(
            (backends, slots) in (1usize..1000).prop_flat_map(|backends| {
                let slot = 0..backends as u16;
                let size = prop::sample::select(vec![0usize, 3, 251, 1009]);
                (Just(backends), size.prop_flat_map(move |size| prop::collection::vec(slot.clone(), size)))
            }),
        ) {
            let packed = Slots::new(&slots, backends);
            prop_assert_eq!(packed.len() as usize, slots.len());
            prop_assert_eq!(packed.is_empty(), slots.is_empty());
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), slots);
            prop_assert_eq!(packed.get(packed.len()), None);
            prop_assert_eq!(packed.get(u32::MAX), None);
        }
    }

    #[test]
    fn a_slot_takes_two_bytes_from_257_backends_on() {
        let slots = [0; 251];
        assert_eq!(Slots::new(&slots, 256).0.len(), 251);
        assert_eq!(Slots::new(&slots, 257).0.len(), 502);
    }
}
