//! Bursts: the unit in which packets are received, processed, sent and freed.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::{ptr, slice};

use dpdk_sys as c;

use crate::mbuf::Mbuf;

/// Packets per burst. Measured: 32 beats 64 by a nanosecond per packet, as it keeps a burst's state in
/// the first-level cache.
pub const BURST: usize = 32;

/// Up to [`BURST`] owned mbufs in an array on the stack; a slice of [`Mbuf`] to index and iterate.
///
/// What is left in a burst when it is dropped or cleared goes back to the pools in one call.
#[repr(C, align(64))]
pub struct Burst {
    // Invariant: the first `len` slots hold mbufs that this burst owns, and `len <= BURST`.
    mbufs: [MaybeUninit<Mbuf>; BURST],
    len: usize,
}

impl Burst {
    /// An empty burst.
    #[inline]
    pub const fn new() -> Burst {
        Burst {
            mbufs: [const { MaybeUninit::uninit() }; BURST],
            len: 0,
        }
    }

    /// How many more mbufs fit.
    #[inline]
    pub fn room(&self) -> usize {
        BURST - self.len
    }

    /// Whether no more mbufs fit.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len == BURST
    }

    /// Appends an mbuf; a full burst gives it back.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        match self.mbufs.get_mut(self.len) {
            Some(slot) => {
                slot.write(mbuf);
                self.len += 1;
                Ok(())
            }
            None => Err(mbuf),
        }
    }

    /// Takes the last mbuf out.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the slot was the last of the first `len` slots, which hold mbufs, and is not any more:
        // the mbuf is moved out exactly once.
        Some(unsafe { self.mbufs[self.len].assume_init_read() })
    }

    /// Takes the mbuf at `index` out and puts the last one in its place.
    #[inline]
    pub fn swap_remove(&mut self, index: usize) -> Option<Mbuf> {
        if index >= self.len {
            return None;
        }
        let last = self.len - 1;
        self.swap(index, last);
        self.pop()
    }

    /// Takes all mbufs out, in order. What the iterator did not give out is freed when it is dropped.
    ///
    /// This is how a worker deals a burst out: zip it with the verdicts, push each mbuf to the burst of
    /// its port. A step costs one load.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        // The burst is empty from here on, so forgetting the iterator leaks mbufs but duplicates none.
        let end = std::mem::take(&mut self.len);
        Drain {
            burst: self,
            next: 0,
            end,
        }
    }

    /// Moves mbufs from the front of `other` to the end of this one, as many as fit, and returns how many.
    #[inline]
    pub fn append(&mut self, other: &mut Burst) -> usize {
        let n = other.len.min(self.room());
        // SAFETY: the first `n` slots of `other` hold mbufs and `n` free slots follow this burst's mbufs;
        // two bursts do not overlap. The new lengths hand each mbuf over exactly once.
        unsafe {
            ptr::copy_nonoverlapping(
                other.mbufs.as_ptr(),
                self.mbufs.as_mut_ptr().add(self.len),
                n,
            );
            self.len += n;
            other.forget_front(n);
        }
        n
    }

    /// Frees all mbufs in one call.
    #[inline]
    pub fn clear(&mut self) {
        let end = std::mem::take(&mut self.len);
        // SAFETY: the first `end` slots held owned mbufs, and the burst no longer counts them.
        unsafe { free(&mut self.mbufs[..end]) };
    }

    /// The array, for a driver to read the first `len` pointers from.
    #[inline]
    pub(crate) fn as_raw(&mut self) -> *mut *mut c::rte_mbuf {
        // `Mbuf` is a transparent pointer, and so is `MaybeUninit` of it.
        self.mbufs.as_mut_ptr().cast()
    }

    /// The slots after the mbufs, `room()` of them, for a driver to store mbufs to.
    #[inline]
    pub(crate) fn free_slots(&mut self) -> *mut *mut c::rte_mbuf {
        self.mbufs[self.len..].as_mut_ptr().cast()
    }

    /// Declares how many mbufs the burst holds.
    ///
    /// # Safety
    /// The first `len` slots hold mbufs that nobody else owns, and `len` is at most [`BURST`].
    #[inline]
    pub(crate) unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= BURST);
        self.len = len;
    }

    /// Forgets the first `n` mbufs and moves the others to the front.
    ///
    /// # Safety
    /// Someone else has become the owner of the first `n` mbufs, and `n` is at most `len`.
    #[inline]
    pub(crate) unsafe fn forget_front(&mut self, n: usize) {
        debug_assert!(n <= self.len);
        let rest = self.len - n;
        if n != 0 && rest != 0 {
            // SAFETY: both ranges lie within the first `len` slots; `copy` allows them to overlap.
            unsafe { ptr::copy(self.mbufs.as_ptr().add(n), self.mbufs.as_mut_ptr(), rest) };
        }
        self.len = rest;
    }
}

impl Default for Burst {
    fn default() -> Self {
        Burst::new()
    }
}

impl Drop for Burst {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

impl Deref for Burst {
    type Target = [Mbuf];

    #[inline]
    fn deref(&self) -> &[Mbuf] {
        // SAFETY: the first `len` slots hold mbufs, and `MaybeUninit<Mbuf>` is laid out as `Mbuf`.
        unsafe { slice::from_raw_parts(self.mbufs.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Burst {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        // SAFETY: as above; swapping mbufs within or between bursts keeps every one owned once.
        unsafe { slice::from_raw_parts_mut(self.mbufs.as_mut_ptr().cast(), self.len) }
    }
}

/// The mbufs of a burst on their way out; see [`Burst::drain`].
pub struct Drain<'a> {
    // Invariant: the slots `next..end` hold mbufs that this iterator owns.
    burst: &'a mut Burst,
    next: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: `next < end <= BURST`, and the slot holds an mbuf of the iterator's, which the step
        // below makes the caller's: it is moved out exactly once.
        let mbuf = unsafe { self.burst.mbufs.get_unchecked(self.next).assume_init_read() };
        self.next += 1;
        Some(mbuf)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.end - self.next;
        (rest, Some(rest))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the slots `next..end` hold mbufs of the iterator's, which ends here.
        unsafe { free(&mut self.burst.mbufs[self.next..self.end]) };
    }
}

/// Gives mbufs back to their pools.
///
/// # Safety
/// Every slot holds an mbuf that the caller owns and never touches again.
#[inline]
unsafe fn free(mbufs: &mut [MaybeUninit<Mbuf>]) {
    if !mbufs.is_empty() {
        // SAFETY: the array holds that many valid mbuf pointers, which the caller hands over.
        unsafe { c::rte_pktmbuf_free_bulk(mbufs.as_mut_ptr().cast(), mbufs.len() as u32) };
    }
}
