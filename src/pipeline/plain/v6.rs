//! Plain IPv6 packets: their headers are copied into an array per field, and checked and taken apart in plain loops
//! over those arrays, which the compiler turns into vector code.

use crate::hw;
use crate::pipeline::frame::Frame;
use crate::pipeline::stage::lanes_of;
use crate::table::hash::BURST;

use super::{ForUs, Plain, TAGGED, flow, le32, le64, swap16};

/// The EtherType, as it stands in a frame.
const KIND: u32 = u32::from_le_bytes([0x86, 0xdd, 0, 0]);

/// The headers of the IPv6 packets of a burst, read as little-endian numbers from the bytes of the frames.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Fields {
    /// Bytes of the frame.
    len: [u32; BURST],
    /// Bytes 12 to 15: the tag, where there is one.
    tag: [u32; BURST],
    /// The IP header and the first two words of the transport header.
    head: [[[u64; 2]; BURST]; 3],
    /// The fourth word of the transport header.
    fourth: [u32; BURST],
    /// There was no IPv4 in the last burst.
    pub(super) alone: bool,
}

/// Reads the plain IPv6 packets in `lanes` behind link headers of `L3` bytes; `HEAD` bytes are looked at of each.
/// Returns their lanes.
#[inline(never)]
pub(super) fn read<F: Frame, const L3: usize, const HEAD: usize>(
    for_us: &ForUs,
    frames: &[F],
    lanes: u32,
    fields: &mut Fields,
    plain: &mut Plain,
) -> u32 {
    let lanes = gather::<F, L3, HEAD>(for_us, frames, lanes, fields);
    if lanes != 0 {
        lanes & check::<L3>(for_us, fields, lanes, plain)
    } else {
        0
    }
}

/// Whether a frame is IPv6 by its EtherType, behind a link header of `L3` bytes.
#[inline(always)]
pub(super) fn is_v6<F: Frame, const L3: usize>(frame: &F) -> bool {
    let kind = frame.data().get(L3 - 2..L3);
    kind == Some(&KIND.to_le_bytes()[..2])
}

/// Copies the headers of those that may be plain; returns their lanes.
#[inline(always)]
fn gather<F: Frame, const L3: usize, const HEAD: usize>(
    for_us: &ForUs,
    frames: &[F],
    lanes: u32,
    fields: &mut Fields,
) -> u32 {
    let mut read = 0;
    for lane in lanes_of(lanes) {
        frames[lane].prefetch_headroom();
        let frame = frames[lane].data();
        if let Some(head) = frame.first_chunk::<HEAD>()
            && le32(head, L3 - 2) & 0xffff == KIND
            && for_us.station.differs(le64(head, 0)) == 0
            && let Ok(len) = u16::try_from(frame.len())
        {
            fields.len[lane] = len.into();
            fields.tag[lane] = le32(head, L3 - 6);
            for (part, from) in fields.head.iter_mut().zip([0, 16, 32]) {
                part[lane] = [0, 8].map(|at| le64(head, L3 + from + at));
            }
            fields.fourth[lane] = le32(head, L3 + 52);
            read |= 1 << lane;
        }
    }
    read
}

/// The lanes that are plain, and others that mean nothing; takes apart those in `lanes`.
#[inline(always)]
fn check<const L3: usize>(for_us: &ForUs, fields: &Fields, lanes: u32, plain: &mut Plain) -> u32 {
    hw::vectorised(
        fields,
        plain,
        #[inline(always)]
        |fields, plain| {
            for lane in 0..BURST {
                let [[start, s0], [s1, d0], [d1, ports]] =
                    fields.head.each_ref().map(|part| part[lane]);
                let (a, b) = (start as u32, (start >> 32) as u32);
                let last = [(ports >> 32) as u32, fields.fourth[lane]];
                let len = fields.len[lane];
                let protocol = b >> 16 & 0xff;
                let inner = 40 + swap16(b);
                let end = L3 as u32 + inner;
                let (says, lies) = flow(protocol, last, L3 as u32 + 40, end);
                let tag = fields.tag[lane];
                let strayed = if L3 == TAGGED { for_us.strayed(tag) } else { 0 };
                plain.wrong[lane] = strayed
                    | a & 0xf0 ^ 0x60
                    | u32::from(b >> 24 == 0)
                    | u32::from(end > len)
                    | lies;
                // The class stands in the second half of the first byte and the first of the second.
                let class = a << 4 & 0xf0 | a >> 12 & 0x0f;
                let shape = inner << 16 | class << 8 | protocol;
                plain.v6.protocol[lane] = protocol;
                plain.v6.source[0][lane] = s0;
                plain.v6.source[1][lane] = s1;
                plain.v6.destination[0][lane] = d0;
                plain.v6.destination[1][lane] = d1;
                plain.v6.ports[lane] = ports as u32;
                let read = 0u32.wrapping_sub(lanes >> lane & 1);
                plain.shape[lane] = shape & read | plain.shape[lane] & !read;
                plain.says[lane] = says & read | plain.says[lane] & !read;
            }
        },
    );
    hw::lanes_with(&plain.wrong, 0)
}
