//! Packet memory for tests: bytes with headroom, as an mbuf has it.

use crate::pipeline::frame;

/// Room in front of a new frame's data, bytes: what DPDK leaves by default
/// (`RTE_PKTMBUF_HEADROOM`).
pub const HEADROOM: usize = 128;
/// Room behind the headroom, bytes: what DPDK's default mbuf holds. A frame longer than this gets
/// just its own length.
pub const DATA_ROOM: usize = 2048;

/// A frame in a buffer with room in front of and behind its data.
#[derive(Clone)]
pub struct Frame {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Frame {
    /// A copy of `bytes` behind [`HEADROOM`].
    pub fn new(bytes: &[u8]) -> Self {
        Self::with_headroom(bytes, HEADROOM)
    }

    /// A copy of `bytes` behind `headroom` bytes, for tests of what happens when it does not
    /// suffice.
    pub fn with_headroom(bytes: &[u8], headroom: usize) -> Self {
        let mut buffer = vec![0; headroom + bytes.len().max(DATA_ROOM)].into_boxed_slice();
        let end = headroom + bytes.len();
        buffer[headroom..end].copy_from_slice(bytes);
        Self {
            buffer,
            start: headroom,
            end,
        }
    }
}

impl frame::Frame for Frame {
    fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    fn prepend(&mut self, n: usize) -> bool {
        match self.start.checked_sub(n) {
            Some(start) => {
                self.start = start;
                true
            }
            None => false,
        }
    }

    fn trim_front(&mut self, n: usize) -> bool {
        let fits = n <= self.end - self.start;
        if fits {
            self.start += n;
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }
}

impl From<&[u8]> for Frame {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(&bytes)
    }
}

/// Frames are equal if their data is.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        frame::Frame::data(self) == frame::Frame::data(other)
    }
}

impl Eq for Frame {}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", frame::Frame::data(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::frame::Frame as _;

    #[test]
    fn grows_and_shrinks_within_its_buffer_only() {
        let mut frame = Frame::with_headroom(b"packet", 4);
        assert!(!frame.prepend(5));
        assert_eq!(frame.data(), b"packet");
        assert!(frame.prepend(4));
        frame.data_mut()[..4].copy_from_slice(b"gre:");
        assert_eq!(frame.data(), b"gre:packet");
        assert!(!frame.trim_front(11));
        assert!(frame.trim_front(4));
        frame.truncate(99);
        assert_eq!(frame.data(), b"packet");
        frame.truncate(4);
        assert_eq!(frame.data(), b"pack");
        assert!(frame.trim_front(4));
        assert!(frame.data().is_empty());
    }
}
