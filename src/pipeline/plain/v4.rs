//! Plain IPv4 packets, eight at a time.
//!
//! The headers of a group are found ([`find`]), then checked and hashed as vectors ([`Group::read`]), then what the
//! hashes lead to is asked for ([`ask`]): work for different units of a core. The steps of neighbouring groups stand
//! beside each other, so that all units are busy at once, and none waits for a result that is still in the making:
//! measured, a third less than one loop over the burst for every step.

use crate::hw;
use crate::pipeline::flows::{Flows, Tables};
use crate::pipeline::frame::Frame;
use crate::table::claim::Claim;
use crate::table::conn::Wanted;
use crate::table::hash::{BURST, FlowHash, V4Tuple};
use crate::table::routes::Homes;
use crate::table::service::V4Key;

use super::{ForUs, Plain, TAGGED, flow, halves, le64, mask, swap16};

/// Packets of a group: as many as there are hashes in the longest vector.
const GROUP: usize = 8;
/// EtherType and first byte of the header, as they stand in a frame: IPv4 without options.
const KIND: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0]);
/// The EtherType alone.
const VERSION: u32 = KIND & 0xffff;

/// Four words of every header of a group, by word.
type Columns = [[u32; GROUP]; 4];

/// The headers of a group.
struct Headers {
    /// Four words up to the sixth byte of the IP header: a tag, the EtherType with the first two bytes, and two more.
    start: Columns,
    /// The next four of them, and the first of the transport header.
    middle: Columns,
    /// The transport header from its second word on.
    transport: Columns,
}

/// What is found out about a group.
#[derive(Default)]
struct Group {
    wrong: [u32; GROUP],
    shape: [u32; GROUP],
    says: [u32; GROUP],
    hashes: [FlowHash; GROUP],
    claims: [Claim; GROUP],
    wanted: [Wanted; GROUP],
    slots: [u32; GROUP],
    places: [u32; GROUP],
}

/// Reads the plain IPv4 packets of a burst behind link headers of `L3` bytes; `HEAD` bytes are looked at of each. If
/// services are steered by hashes alone, packets are `ROUTED`: their slots are asked for. Returns the lanes of plain
/// packets, and of those whose slots have been asked for, with others that mean nothing.
#[inline(always)]
pub(super) fn read<F: Frame, const L3: usize, const HEAD: usize, const ROUTED: bool>(
    for_us: &ForUs,
    frames: &[F],
    tables: &Tables<'_>,
    (plain, flows): (&mut Plain, &mut Flows),
) -> (u32, u32) {
    let mut to = (plain, flows, 0);
    hw::vectorised(
        frames,
        &mut to,
        #[inline(always)]
        |frames, (plain, flows, asked)| {
            *asked = read_all::<F, L3, HEAD, ROUTED>(for_us, frames, tables, plain, flows);
        },
    );
    let (plain, _, asked) = to;
    (hw::lanes_with(&plain.wrong, 0), asked)
}

#[inline(always)]
fn read_all<F: Frame, const L3: usize, const HEAD: usize, const ROUTED: bool>(
    for_us: &ForUs,
    frames: &[F],
    tables: &Tables<'_>,
    plain: &mut Plain,
    flows: &mut Flows,
) -> u32 {
    let homes = tables.homes;
    let (mut first, mut asked) = (0, 0);
    while first < BURST && first < frames.len() {
        let mut heads = [&[0; HEAD]; GROUP];
        if let Some(lens) = plain.lens[first..].first_chunk_mut() {
            // Of most groups the length is known.
            match frames[first..].first_chunk::<GROUP>() {
                Some(group) => find(for_us, group, &mut heads, lens),
                None => find(for_us, &frames[first..], &mut heads, lens),
            }
        }
        // The hashes of the group in between are still in the making.
        if ROUTED && first > GROUP {
            asked |= ask(flows, homes, first - 2 * GROUP);
        }
        let headers = Headers {
            start: columns(&heads, L3 - 6),
            middle: columns(&heads, L3 + 8),
            transport: columns(&heads, L3 + 24),
        };
        let group = Group::read::<L3, ROUTED>(for_us, &headers, tables);
        put(&mut plain.wrong, first, group.wrong);
        put(&mut plain.shape, first, group.shape);
        put(&mut plain.says, first, group.says);
        put(&mut flows.hashes, first, group.hashes);
        put(&mut flows.claims, first, group.claims);
        if ROUTED {
            put(&mut flows.slots, first, group.slots);
            put(&mut flows.places, first, group.places);
        } else {
            put(&mut flows.wanted, first, group.wanted);
        }
        first += GROUP;
    }
    if ROUTED {
        let mut left = first.saturating_sub(2 * GROUP);
        while left < first {
            asked |= ask(flows, homes, left);
            left += GROUP;
        }
    }
    for lane in 0..BURST {
        let end = L3 as u32 + (plain.shape[lane] >> 16);
        plain.wrong[lane] |= mask(end > plain.lens[lane]);
    }
    asked
}

/// The group of lanes that begins with `first`.
#[inline(always)]
fn group_of<T>(lanes: &[T; BURST], first: usize) -> Option<&[T; GROUP]> {
    lanes[first % BURST..].first_chunk()
}

#[inline(always)]
fn put<T: Copy>(lanes: &mut [T; BURST], first: usize, group: [T; GROUP]) {
    if let Some(lanes) = lanes[first % BURST..].first_chunk_mut() {
        *lanes = group;
    }
}

/// Finds the headers of a group, and the bytes of its frames: none of one that is too short, or for another station.
#[inline(always)]
fn find<'f, F: Frame, const HEAD: usize>(
    for_us: &ForUs,
    frames: &'f [F],
    heads: &mut [&'f [u8; HEAD]; GROUP],
    lens: &mut [u32; GROUP],
) {
    for ((frame, head), len) in frames.iter().zip(heads).zip(lens) {
        frame.prefetch_headroom();
        let frame = frame.data();
        let Some(own) = frame.first_chunk() else {
            *len = 0;
            continue;
        };
        *head = own;
        let astray = for_us.station.differs(le64(own, 0)) != 0;
        *len = if astray { 0 } else { frame.len() as u32 };
    }
}

/// Four words of every header, from byte `at` on.
#[inline(always)]
fn columns<const HEAD: usize>(heads: &[&[u8; HEAD]; GROUP], at: usize) -> Columns {
    let row = |lane: usize| heads[lane][at..].first_chunk().unwrap_or(&[0; 16]);
    hw::columns([
        row(0),
        row(1),
        row(2),
        row(3),
        row(4),
        row(5),
        row(6),
        row(7),
    ])
}

/// Asks for the slots of a group's packets whose keys say that their services are steered by hashes alone; returns
/// their lanes.
#[inline(always)]
fn ask(flows: &Flows, homes: Homes<'_>, first: usize) -> u32 {
    let group = (
        group_of(&flows.claims, first),
        group_of(&flows.places, first),
        group_of(&flows.slots, first),
    );
    let (Some(claims), Some(places), Some(slots)) = group else {
        return 0;
    };
    let mut others = 0u32;
    for lane in 0..GROUP {
        if !homes.ask(claims[lane].v4_key(), places[lane], slots[lane]) {
            others |= 1 << lane;
        }
    }
    (others ^ 0xff) << first
}

impl Group {
    #[inline(always)]
    fn read<const L3: usize, const ROUTED: bool>(
        for_us: &ForUs,
        headers: &Headers,
        tables: &Tables<'_>,
    ) -> Self {
        let mut group = Group::default();
        let mut any = false;
        for kind in headers.start[1] {
            any |= kind & 0xffff == VERSION;
        }
        if any {
            for lane in 0..GROUP {
                group.read_lane::<L3, ROUTED>(for_us, headers, tables, lane);
            }
        } else {
            group.wrong = [1; GROUP];
        }
        group
    }

    #[inline(always)]
    fn read_lane<const L3: usize, const ROUTED: bool>(
        &mut self,
        for_us: &ForUs,
        headers: &Headers,
        tables: &Tables<'_>,
        lane: usize,
    ) {
        /// Offset and "more fragments".
        const FRAGMENT: u32 = 0xff3f;
        let [tag, a, b, c] = headers.start.each_ref().map(|word| word[lane]);
        let [d, source, destination, ports] = headers.middle.each_ref().map(|word| word[lane]);
        let [second, _, fourth, _] = headers.transport.each_ref().map(|word| word[lane]);
        let protocol = d >> 8 & 0xff;
        let inner = swap16(b);
        let end = L3 as u32 + inner;
        let (says, lies) = flow(protocol, [second, fourth], L3 as u32 + 20, end);
        // RFC 1071: in whatever byte order; all ones if the checksum is right.
        let sum = (a >> 16) + halves(b) + (c & 0xffff);
        let sum = sum + halves(d) + halves(source) + halves(destination);
        let sum = halves(halves(sum));
        let strayed = if L3 == TAGGED { for_us.strayed(tag) } else { 0 };
        self.wrong[lane] = strayed
            | a & 0x00ff_ffff ^ KIND
            | c & FRAGMENT
            | mask(d & 0xff == 0)
            | sum ^ 0xffff
            | end >> 16
            | lies;
        self.shape[lane] = inner << 16 | a >> 16 & 0xff00 | protocol;
        self.says[lane] = says;
        let tuple = V4Tuple {
            protocol,
            source,
            destination,
            ports,
        };
        let hash = tuple.hash(&tables.key);
        let key = V4Key::from_wire(protocol as u8, destination, (ports >> 16) as u16);
        self.hashes[lane] = hash;
        self.claims[lane] = Claim::of_v4(key);
        if ROUTED {
            self.slots[lane] = tables.addressing.slot(hash);
            self.places[lane] = tables.addressing.home(key);
        } else {
            self.wanted[lane] = tables.look.wanted(hash, says);
        }
    }
}
