//! One connection in one 64-bit word.

use crate::table::{BackendId, FlowHash, Tick};
use crate::wire::tcp::TcpFlags;

/// What a packet tells about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// TCP with SYN, without ACK, FIN and RST: a client opens a connection.
    Syn,
    /// TCP with SYN and ACK: part of an opening in either direction, not yet proof that both ends talk.
    SynAck,
    /// TCP without SYN, FIN and RST.
    TcpData,
    /// TCP with FIN or RST.
    TcpClose,
    /// Anything that is not TCP.
    Datagram,
}

impl Segment {
    /// By TCP flags FIN to ACK, and 32 for TCP: looked up, as a mix of protocols and flags would mispredict
    /// branches.
    #[inline(always)]
    pub fn of(says: u32) -> Self {
        SEGMENTS[says as usize % SEGMENTS.len()]
    }
}

/// See [`Segment::of`].
const SEGMENTS: [Segment; 64] = {
    let mut segments = [Segment::Datagram; 64];
    let mut at = 32;
    while at < 64 {
        let flags = TcpFlags(at as u8 & 0x1f);
        segments[at] = if flags.intersects(TcpFlags::FIN) || flags.intersects(TcpFlags::RST) {
            Segment::TcpClose
        } else if flags.contains(TcpFlags::SYN) && flags.contains(TcpFlags::ACK) {
            Segment::SynAck
        } else if flags.contains(TcpFlags::SYN) {
            Segment::Syn
        } else {
            Segment::TcpData
        };
        at += 1;
    }
    segments
};

/// Idle time of an entry, in ticks, or a timeout to compare it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age(pub u16);

impl Age {
    /// Ages are known modulo this.
    pub(super) const WRAP: u16 = 1 << 12;
}

/// What an entry's flags make of it: each kind has a timeout of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP that saw FIN or RST last.
    Closing,
    /// Nothing but the start was seen.
    Embryonic,
    /// Established, and not TCP.
    Udp,
    /// Established TCP.
    Tcp,
}

impl Kind {
    /// Flags of this kind.
    #[inline(always)]
    pub(super) const fn example(self) -> usize {
        match self {
            Kind::Closing => CLOSING as usize,
            Kind::Embryonic => 0,
            Kind::Udp => (PROMOTED | UDP) as usize,
            Kind::Tcp => PROMOTED as usize,
        }
    }

    /// By the flags, as [`Entry::kind`] gives them.
    pub(super) fn of(flags: usize) -> Self {
        let has = |flag| flags as u64 & flag != 0;
        if has(CLOSING) {
            Kind::Closing
        } else if !has(PROMOTED) {
            Kind::Embryonic
        } else if has(UDP) {
            Kind::Udp
        } else {
            Kind::Tcp
        }
    }
}

/// A connection table entry: tag 32 bits, backend 17, age stamp 12 (ticks of 8 s), flags 3.
///
/// The zero word is empty; no entry is zero, because its backend id is not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    word: u64,
    backend: BackendId,
}

impl Entry {
    /// A new entry for a flow whose first packet seen is `segment`.
    pub(super) fn new(hash: FlowHash, backend: BackendId, segment: Segment, now: Tick) -> Self {
        let flags = match segment {
            Segment::Syn | Segment::SynAck => 0,
            Segment::TcpData => PROMOTED,
            Segment::TcpClose => PROMOTED | CLOSING,
            Segment::Datagram => UDP,
        };
        Self::pack(hash.tag(), backend, flags, now)
    }

    /// The entry after one more packet. The stamp moves at most once per tick, so that most packets
    /// leave the word as it is.
    #[inline]
    pub(super) fn after(self, segment: Segment, now: Tick) -> Self {
        // By segment, so that no branch depends on the packet: flags cleared, and flags set.
        const CHANGES: [(u64, u64); 5] = {
            let mut changes = [(0, 0); 5];
            changes[Segment::Syn as usize] = (CLOSING, 0);
            changes[Segment::SynAck as usize] = (CLOSING, 0);
            changes[Segment::TcpData as usize] = (CLOSING, PROMOTED);
            changes[Segment::TcpClose as usize] = (0, CLOSING | PROMOTED);
            changes[Segment::Datagram as usize] = (0, PROMOTED);
            changes
        };
        let (clear, set) = CHANGES[segment as usize];
        let stamp = u64::from(now.0 & AGE_MASK) << AGE_SHIFT;
        let word = self.word & !(clear | u64::from(AGE_MASK) << AGE_SHIFT) | set | stamp;
        Entry { word, ..self }
    }

    /// The entry moved to another backend by a packet. A SYN starts a new connection: nothing of the
    /// old one's state stays.
    pub(super) fn repinned(self, backend: BackendId, segment: Segment, now: Tick) -> Self {
        let flags = match segment {
            Segment::Syn => 0,
            _ => self.after(segment, now).flags(),
        };
        Self::pack(self.tag(), backend, flags, now)
    }

    /// Reads a table word; `None` if it is empty.
    #[inline(always)]
    pub(super) fn from_word(word: u64) -> Option<Self> {
        BackendId::new(backend_of(word))
            .ok()
            .map(|backend| Entry { word, backend })
    }

    /// The word to store.
    #[inline(always)]
    pub(super) fn word(self) -> u64 {
        self.word
    }

    /// High 32 bits of the flow's hash. With the bucket, which is the hash's low bits, enough to find
    /// the Maglev slot again: `slot_of_tag(tag, m)`.
    #[inline(always)]
    pub fn tag(self) -> u32 {
        tag_of(self.word)
    }

    /// The backend the flow is pinned to.
    #[inline(always)]
    pub fn backend(self) -> BackendId {
        self.backend
    }

    /// Belongs to a flow that is not TCP.
    #[inline(always)]
    pub fn is_udp(self) -> bool {
        self.word & UDP != 0
    }

    /// TCP saw FIN or RST, and no other packet since.
    #[inline(always)]
    pub fn is_closing(self) -> bool {
        self.word & CLOSING != 0
    }

    /// TCP: a packet without SYN was seen; else: a second packet.
    #[inline(always)]
    pub fn is_promoted(self) -> bool {
        self.word & PROMOTED != 0
    }

    /// The flags as an index below 8.
    #[inline(always)]
    pub(super) fn kind(self) -> usize {
        (self.word & FLAGS) as usize
    }

    /// Seconds since the flow's last packet, in steps of 8.
    pub fn idle_seconds(self, now: Tick) -> u64 {
        u64::from(self.age(now).0) * Tick::SECONDS
    }

    /// The bits that say when an entry was stamped.
    #[inline(always)]
    pub(super) fn stamp(now: Tick) -> u64 {
        u64::from(now.0 & AGE_MASK) << AGE_SHIFT
    }

    /// The word, but for the backend, of the entry of a flow that a packet leaves as it is: stamped in the tick of
    /// `stamp`, and with the flags it would get. `says` is what the packet says, by TCP flags FIN to ACK, and
    /// 32 for TCP. No entry is like the word for a packet that always changes something.
    #[inline(always)]
    pub(super) fn steady(hash: FlowHash, says: u32, stamp: u64) -> u64 {
        let starts_or_ends = says & u32::from(TcpFlags::FIN.0 | TcpFlags::SYN.0 | TcpFlags::RST.0);
        let tcp = if starts_or_ends != 0 { NEVER } else { PROMOTED };
        let flags = if says & 32 != 0 { tcp } else { PROMOTED | UDP };
        hash.0 & TAG_MASK | stamp | flags
    }

    /// The entry was stamped in this tick.
    #[inline(always)]
    pub(super) fn is_fresh(self, now: Tick) -> bool {
        ((self.word >> AGE_SHIFT) as u32 ^ now.0) & AGE_MASK == 0
    }

    /// Ticks since the entry was stamped, modulo the wrap.
    #[inline(always)]
    pub(super) fn age(self, now: Tick) -> Age {
        Age(Parts::of(self.word).age(now) as u16)
    }

    #[inline(always)]
    fn flags(self) -> u64 {
        self.word & FLAGS
    }

    #[inline(always)]
    fn pack(tag: u32, backend: BackendId, flags: u64, now: Tick) -> Self {
        let word = u64::from(tag) << TAG_SHIFT
            | u64::from(backend.get()) << BACKEND_SHIFT
            | u64::from(now.0 & AGE_MASK) << AGE_SHIFT
            | flags;
        Entry { word, backend }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("tag", &format_args!("{:08x}", self.tag()))
            .field("backend", &self.backend.get())
            .field("stamp", &(self.word >> AGE_SHIFT & u64::from(AGE_MASK)))
            .field("udp", &self.is_udp())
            .field("closing", &self.is_closing())
            .field("promoted", &self.is_promoted())
            .finish()
    }
}

/// A table word in halves, empty or not: what a loop over a line can look at without a branch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// High half.
    pub(super) tag: u32,
    low: u32,
}

impl Parts {
    #[inline(always)]
    pub(super) fn of(word: u64) -> Self {
        Parts {
            tag: tag_of(word),
            low: word as u32,
        }
    }

    /// As [`Entry::age`].
    #[inline(always)]
    pub(super) fn age(self, now: Tick) -> u32 {
        let age = now.0.wrapping_sub(self.low >> AGE_SHIFT) & AGE_MASK;
        // Another worker reads with a clock of its own, which may be a little behind the owner's.
        // Real ages never get this high (see `sweep`).
        pick(age > AGE_MASK - SKEW, 0, age)
    }

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.low >> BACKEND_SHIFT == 0
    }

    #[inline(always)]
    pub(super) fn has(self, flag: u64) -> bool {
        self.low & flag as u32 != 0
    }

    #[inline(always)]
    pub(super) fn is_closing(self) -> bool {
        self.has(CLOSING)
    }

    #[inline(always)]
    pub(super) fn is_promoted(self) -> bool {
        self.has(PROMOTED)
    }

    #[inline(always)]
    pub(super) fn is_udp(self) -> bool {
        self.has(UDP)
    }
}

/// `a` for yes, `b` for no, by masks: a condition may become a branch in the middle of a loop.
#[inline(always)]
pub(super) fn pick(yes: bool, a: u32, b: u32) -> u32 {
    b ^ (a ^ b) & 0u32.wrapping_sub(u32::from(yes))
}

/// Number of the backend in a table word.
#[inline(always)]
pub(super) fn backend_of(word: u64) -> u32 {
    (word >> BACKEND_SHIFT) as u32 & BackendId::MAX.get()
}

/// Tag of a table word, empty or not.
#[inline(always)]
pub(super) fn tag_of(word: u64) -> u32 {
    (word >> TAG_SHIFT) as u32
}

const TAG_SHIFT: u32 = 32;
const BACKEND_SHIFT: u32 = TAG_SHIFT - BackendId::BITS;
const AGE_SHIFT: u32 = 3;
/// The 12 bits of an age stamp.
const AGE_MASK: u32 = Age::WRAP as u32 - 1;
const FLAGS: u64 = (1 << AGE_SHIFT) - 1;
const UDP: u64 = 1;
const CLOSING: u64 = 2;
const PROMOTED: u64 = 4;
/// Flags of no entry: what closes one promotes it.
const NEVER: u64 = UDP | CLOSING;
const TAG_MASK: u64 = u64::MAX << TAG_SHIFT;
/// The bits of a table word that name the backend.
pub(super) const BACKEND_MASK: u64 = (BackendId::MAX.get() as u64) << BACKEND_SHIFT;

/// Ticks by which a reader's clock may lag behind the owner's: about a minute.
const SKEW: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u32) -> BackendId {
        BackendId::new(id).unwrap()
    }

    #[test]
    fn fields_do_not_overlap() {
        assert_eq!(BACKEND_SHIFT, AGE_SHIFT + AGE_MASK.count_ones());
        for backend in [id(1), id(65_536), BackendId::MAX] {
            for (tag, tick) in [(0, 0), (u32::MAX, 4095), (0x1234_5678, 100_000)] {
                let hash = FlowHash(u64::from(tag) << 32);
                let entry = Entry::new(hash, backend, Segment::TcpClose, Tick(tick));
                assert_eq!(Entry::from_word(entry.word()), Some(entry));
                assert_eq!((entry.tag(), entry.backend()), (tag, backend));
                assert_eq!(entry.age(Tick(tick + 7)), Age(7));
                assert!(entry.is_closing() && entry.is_promoted() && !entry.is_udp());
            }
        }
        assert_eq!(Entry::from_word(0), None);
    }

    #[test]
    fn what_is_steady_does_not_change() {
        let now = Tick(77);
        for flags in 0..=FLAGS {
            for age in [0, 1, 4000] {
                let entry = Entry::pack(9, id(5), flags, Tick(77u32.wrapping_sub(age)));
                for says in 0..64 {
                    let segment = Segment::of(says);
                    let wanted = Entry::steady(FlowHash(9 << 32 | 77), says, Entry::stamp(now));
                    let steady = (entry.word() ^ wanted) & !BACKEND_MASK == 0;
                    let data = matches!(segment, Segment::TcpData | Segment::Datagram);
                    // An entry knows its protocol by its flow, and only TCP's close.
                    let own = entry.is_udp() == (segment == Segment::Datagram)
                        && !(entry.is_udp() && entry.is_closing());
                    let stays = own && data && entry.after(segment, now) == entry;
                    let never = entry.is_udp() && entry.is_closing() && !entry.is_promoted();
                    assert_eq!(steady && !never, stays, "{entry:?} {segment:?}");
                }
            }
        }
        assert_eq!(backend_of(Entry::pack(9, id(5), FLAGS, now).word()), 5);
    }

    /// A life: segments in order, then closing and promoted after each.
    #[test]
    fn lives() {
        use Segment::*;
        let check = |life: &[(Segment, bool, bool)]| {
            let mut entry = Entry::new(FlowHash(0), id(1), life[0].0, Tick(0));
            for (step, &(segment, closing, promoted)) in life.iter().enumerate() {
                if step > 0 {
                    entry = entry.after(segment, Tick(step as u32));
                }
                let state = (entry.is_closing(), entry.is_promoted());
                assert_eq!(state, (closing, promoted), "{life:?}, step {step}");
                assert_eq!(entry.age(Tick(step as u32)), Age(0));
                assert_eq!(entry.is_udp(), segment == Datagram);
            }
        };
        let (no, yes) = (false, true);
        check(&[
            (Syn, no, no),
            (Syn, no, no),
            (TcpData, no, yes),
            (Syn, no, yes),
        ]);
        check(&[(Syn, no, no), (SynAck, no, no), (TcpClose, yes, yes)]);
        check(&[(TcpData, no, yes), (TcpClose, yes, yes), (TcpData, no, yes)]);
        check(&[
            (TcpClose, yes, yes),
            (TcpClose, yes, yes),
            (SynAck, no, yes),
        ]);
        check(&[(TcpClose, yes, yes), (Syn, no, yes)]);
        check(&[(Datagram, no, no), (Datagram, no, yes), (Datagram, no, yes)]);
    }

    #[test]
    fn a_syn_that_moves_an_entry_starts_it_anew() {
        let old = Entry::new(FlowHash(7 << 32), id(1), Segment::TcpClose, Tick(0));
        let new = old.repinned(id(2), Segment::Syn, Tick(3));
        assert_eq!((new.tag(), new.backend(), new.flags()), (7, id(2), 0));
        let moved = old.repinned(id(2), Segment::TcpData, Tick(3));
        assert!(moved.is_promoted() && !moved.is_closing());
    }

    #[test]
    fn ages_wrap_and_forgive_a_lagging_clock() {
        let entry = Entry::new(FlowHash(0), id(1), Segment::Syn, Tick(4094));
        assert_eq!(entry.age(Tick(4094)), Age(0));
        assert_eq!(entry.age(Tick(4098)), Age(4));
        assert_eq!(entry.age(Tick(4094 + 4087)), Age(4087));
        assert_eq!(entry.age(Tick(4093)), Age(0));
        assert_eq!(entry.age(Tick(4086)), Age(0));
        assert_eq!(entry.idle_seconds(Tick(4100)), 48);
    }
}
