//! What the packet path asks of a packet buffer. DPDK mbufs and plain byte vectors both offer it, so
//! the same code runs over ports, capture files and in-memory tests.

/// One frame, from its Ethernet header on, in one piece, with room in front of it.
pub trait Frame {
    /// The bytes.
    fn data(&self) -> &[u8];

    /// The bytes, to write.
    fn data_mut(&mut self) -> &mut [u8];

    /// Grows the frame by `n` bytes at its front; what they hold is undefined. `false`, and nothing
    /// changed, if there is no room.
    #[must_use]
    fn prepend(&mut self, n: usize) -> bool;

    /// Takes `n` bytes off the front. `false`, and nothing changed, if there are fewer.
    #[must_use]
    fn trim_front(&mut self, n: usize) -> bool;

    /// Shortens the frame to `len` bytes; does nothing if it is no longer than that.
    fn truncate(&mut self, len: usize);

    /// Asks for the memory in front of the frame, where new headers will be written.
    #[inline]
    fn prefetch_headroom(&self) {}

    /// Keeps `len` bytes of the frame from byte `from` on, puts `head` bytes of room in front of them, and returns all
    /// of it. `None` if there are no such bytes or no such room; the frame is then good for nothing but
    /// dropping.
    #[inline]
    #[must_use]
    fn rewrap(&mut self, from: usize, len: usize, head: usize) -> Option<&mut [u8]> {
        let end = from.checked_add(len)?;
        if end > self.data().len() {
            return None;
        }
        self.truncate(end);
        let done = if head >= from {
            self.prepend(head - from)
        } else {
            self.trim_front(from - head)
        };
        done.then(|| self.data_mut())
    }
}
