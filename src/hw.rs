//! Prefetch, huge-page memory and a look at the CPU before `main`: the only file of `src/` that may hold
//! `unsafe`.

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapMut};
use nix::libc;

#[cfg(target_arch = "x86_64")]
use crate::cpu::{Cpu, FEATURES, OSXSAVE};
use crate::smaps;

/// Words in a cache line.
pub const LINE_WORDS: usize = 8;

/// Bytes in a huge page of x86-64, and in a transparent one of aarch64 with 4 KiB pages.
pub const HUGE_PAGE: usize = 2 << 20;

/// Asks for the cache line of `place`, to be read soon. A hint: any address will do, valid or not.
#[inline(always)]
pub fn prefetch_read<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }, T>(place);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// As [`prefetch_read`], into the second-level cache: for many lines at once, as the first level cannot wait
/// for more than a few.
#[inline(always)]
pub fn prefetch_near<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }, T>(place);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch<const HINT: i32, T>(place: *const T) {
    // SAFETY: a prefetch neither faults nor changes what the program can see, whatever the address.
    unsafe { std::arch::x86_64::_mm_prefetch::<HINT>(place.cast()) };
}

/// Has the allocator give blocks from 64 KiB on, such as Maglev tables, mappings of their own, which go back to the
/// system. glibc by itself does so until the first of them is freed, and leaves holes ever after.
pub fn map_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator's; any thread may do so at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10)
    };
}

/// Runs `work` compiled for AVX-512 where the CPU has it, else as it is: for plain loops over arrays,
/// which the compiler then turns into wider vectors, with rotations of one instruction. What is to gain
/// from it has to be inlined into `work`. All it reads comes by `from` and all it writes by `to`, so that the
/// compiler knows that they do not overlap.
#[inline(always)]
pub fn vectorised<A: ?Sized, B>(from: &A, to: &mut B, work: impl Fn(&A, &mut B)) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
        #[inline(never)]
        fn wide<A: ?Sized, B>(from: &A, to: &mut B, work: impl Fn(&A, &mut B)) {
            work(from, to);
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
        {
            // SAFETY: the CPU, and the operating system for its registers, has just said that it has them.
            return unsafe { wide(from, to, work) };
        }
    }
    work(from, to);
}

/// Eight rows of four words as four columns, each with a place for every row.
#[inline(always)]
pub fn columns(rows: [&[u8; 16]; 8]) -> [[u32; 8]; 4] {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use std::arch::x86_64::*;
        // SAFETY: a row is 16 bytes, which may be read at any alignment, and a vector has the eight words of a column.
        // AVX2 is there: this is compiled for CPUs that have it.
        unsafe {
            let row = |at: usize| _mm_loadu_si128(rows[at].as_ptr().cast::<__m128i>());
            let pair = |at: usize| _mm256_setr_m128i(row(at), row(at + 4));
            let (a, b, c, d) = (pair(0), pair(1), pair(2), pair(3));
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let first = _mm256_unpacklo_epi64(ab, cd);
            let second = _mm256_unpackhi_epi64(ab, cd);
            let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            let third = _mm256_unpacklo_epi64(ab, cd);
            let fourth = _mm256_unpackhi_epi64(ab, cd);
            std::mem::transmute::<[__m256i; 4], _>([first, second, third, fourth])
        }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    columns_one_by_one(rows)
}

/// As [`columns`], a word after the other.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
#[inline(always)]
fn columns_one_by_one(rows: [&[u8; 16]; 8]) -> [[u32; 8]; 4] {
    let word = |row: &[u8; 16], at: usize| u32::from_le_bytes(row.as_chunks().0[at]);
    [0, 1, 2, 3].map(|at| rows.map(|row| word(row, at)))
}

/// The lanes that hold `value`, as bits.
#[inline(always)]
pub fn lanes_with(lanes: &[u32; 32], value: u32) -> u32 {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use std::arch::x86_64::*;
        let mut found = 0;
        for (place, eight) in lanes.chunks_exact(8).enumerate() {
            // SAFETY: the pointer is that of eight lanes, 32 bytes, which may be read at any alignment. AVX2 is
            // there: this is compiled for CPUs that have it.
            let bits = unsafe {
                let eight = _mm256_loadu_si256(eight.as_ptr().cast::<__m256i>());
                let equal = _mm256_cmpeq_epi32(eight, _mm256_set1_epi32(value as i32));
                _mm256_movemask_ps(_mm256_castsi256_ps(equal))
            };
            found |= (bits as u32) << (8 * place);
        }
        found
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    lanes_with_one_by_one(lanes, value)
}

/// As [`lanes_with`], a lane after the other.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
fn lanes_with_one_by_one(lanes: &[u32; 32], value: u32) -> u32 {
    let bit = |lane: usize| u32::from(lanes[lane] == value) << lane;
    (0..32).map(bit).fold(0, |bits, bit| bits | bit)
}

/// Has [`require_cpu`] run before `main`: with link-time optimisation the standard library's own start
/// is compiled for the newer CPU too, and dies before the first statement of `main`.
#[cfg(target_arch = "x86_64")]
// SAFETY: the section holds pointers to functions that the C library calls before `main` (System V ABI,
// section "Initialization and Termination Functions"), in the C convention, with arguments that may be
// ignored. This one needs nothing that is not there yet: it calls the C library alone.
#[unsafe(link_section = ".init_array")]
#[used]
static BEFORE_MAIN: extern "C" fn() = require_cpu;

/// Ends the process with a line on standard error if the CPU, or the operating system's way to run it,
/// lacks instructions this binary was built for. Built for the baseline of x86-64 it asks for nothing.
#[cfg(target_arch = "x86_64")]
extern "C" fn require_cpu() {
    let cpu = this_cpu();
    let mut refused = false;
    for feature in &FEATURES {
        if feature.is_missing(&cpu) {
            let before = if refused {
                " "
            } else {
                "error: this binary was built for CPUs with instructions that this one lacks: "
            };
            refused = true;
            say(before);
            say(feature.name);
        }
    }
    if refused {
        say("; to run it here, build it without \"-C target-cpu\" in RUSTFLAGS\n");
        // SAFETY: ends the process; nothing of ours is running yet that would need an end.
        unsafe { libc::_exit(1) };
    }
}

/// Writes to standard error, without the standard library. Nothing can be said about a failure.
#[cfg(target_arch = "x86_64")]
fn say(text: &str) {
    // SAFETY: the pointer and the length are those of `text`.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

/// What this CPU says of itself.
#[cfg(target_arch = "x86_64")]
fn this_cpu() -> Cpu {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// The leaf that tells the highest extended one.
    const EXTENDED: u32 = 0x8000_0000;

    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: register 0 exists wherever XGETBV does.
        unsafe { _xgetbv(0) }
    }

    let mut cpu = Cpu {
        leaf_1: __cpuid(1).ecx,
        ..Cpu::default()
    };
    if __cpuid(0).eax >= 7 {
        cpu.leaf_7 = __cpuid_count(7, 0).ebx;
    }
    if __cpuid(EXTENDED).eax > EXTENDED {
        cpu.extended = __cpuid(EXTENDED + 1).ecx;
    }
    if cpu.leaf_1 & OSXSAVE != 0 {
        // SAFETY: OSXSAVE says that the CPU has XSAVE, of which XGETBV is a part.
        cpu.saved = unsafe { xcr0() };
    }
    cpu
}

/// One cache line of atomic words.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Line(pub [AtomicU64; LINE_WORDS]);

impl Line {
    /// The words, each read once, relaxed.
    #[inline(always)]
    pub fn words(&self) -> [u64; LINE_WORDS] {
        #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
        {
            use std::arch::x86_64::__m256i;
            let (first, second): (__m256i, __m256i);
            // SAFETY: as in `places_like`.
            unsafe {
                std::arch::asm!(
                    "vmovdqa {first:y}, [{line}]",
                    "vmovdqa {second:y}, [{line} + 32]",
                    first = out(ymm_reg) first,
                    second = out(ymm_reg) second,
                    line = in(reg) self,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            // SAFETY: both are 32 bytes of which any are a number.
            unsafe { std::mem::transmute([first, second]) }
        }
        #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
        self.0.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// The places whose words are `word` but for the bits that `any` has, as bits. Every word is read once,
    /// relaxed.
    #[inline(always)]
    pub fn places_like(&self, word: u64, any: u64) -> u32 {
        #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
        {
            use std::arch::x86_64::{_mm256_set1_epi64x, _mm256_setzero_si256};
            let (low, up): (u32, u32);
            // SAFETY: reads the line, which is 64 aligned bytes, and writes registers alone. What another
            // thread stores meanwhile is stored word by word, and an aligned eight-byte part of a vector
            // load is never torn on x86-64: what is read is what eight relaxed loads may return. AVX2 is
            // there: this is compiled for CPUs that have it.
            unsafe {
                let wanted = _mm256_set1_epi64x(word as i64);
                let compared = _mm256_set1_epi64x(!any as i64);
                std::arch::asm!(
                    "vpxor {first:y}, {wanted:y}, [{line}]",
                    "vpxor {second:y}, {wanted:y}, [{line} + 32]",
                    "vpand {first:y}, {first:y}, {compared:y}",
                    "vpand {second:y}, {second:y}, {compared:y}",
                    "vpcmpeqq {first:y}, {first:y}, {zero:y}",
                    "vpcmpeqq {second:y}, {second:y}, {zero:y}",
                    "vmovmskpd {low:e}, {first:y}",
                    "vmovmskpd {up:e}, {second:y}",
                    first = out(ymm_reg) _,
                    second = out(ymm_reg) _,
                    wanted = in(ymm_reg) wanted,
                    compared = in(ymm_reg) compared,
                    zero = in(ymm_reg) _mm256_setzero_si256(),
                    line = in(reg) self,
                    low = out(reg) low,
                    up = out(reg) up,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            low | up << 4
        }
        #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
        self.like_one_by_one(word, any)
    }

    /// As [`Line::places_like`], a word after the other.
    #[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
    #[inline(always)]
    fn like_one_by_one(&self, word: u64, any: u64) -> u32 {
        let is_like = |own: &AtomicU64| (own.load(Ordering::Relaxed) ^ word) & !any == 0;
        let places = self.0.iter().rev();
        places.fold(0, |bits, own| bits << 1 | u32::from(is_like(own)))
    }
}

/// Zeroed cache lines for a table, on huge pages where the kernel gives them.
///
/// A lookup in a table of many megabytes misses the TLB on small pages as surely as the cache, which
/// costs a quarter of the lookup. So tables of a huge page and more are aligned to one and ask for
/// transparent ones. All pages are touched when the table is made, by the thread that makes it: no
/// packet ever waits for a page fault, and the memory lies on that thread's NUMA node.
#[derive(Debug)]
pub struct Lines {
    first: NonNull<Line>,
    len: usize,
    /// Kept for its `Drop`.
    _mapping: MmapMut,
}

// SAFETY: `Lines` owns its memory alone, and gives out nothing but `&Line`, which is made of atomics.
unsafe impl Send for Lines {}
// SAFETY: as above: shared access is atomic access.
unsafe impl Sync for Lines {}

impl Lines {
    /// `len` zeroed lines. Fails when the address space or the memory for them is not to be had.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = len.checked_mul(size_of::<Line>()).ok_or_else(too_large)?;
        let huge = bytes >= HUGE_PAGE;
        // A mapping starts on a small page: one huge page more leaves room to align it by hand.
        let slack = if huge { HUGE_PAGE } else { 0 };
        let bytes_mapped = bytes.checked_add(slack).ok_or_else(too_large)?.max(1);
        let mut mapping = MmapMut::map_anon(bytes_mapped)?;
        let alignment = if huge { HUGE_PAGE } else { align_of::<Line>() };
        let padding = mapping.as_ptr().align_offset(alignment);
        if huge {
            // May be refused by a kernel without huge pages: then the table is slower, not wrong.
            let _ = mapping.advise_range(Advice::HugePage, padding, bytes);
        }
        // The padding is below `slack` (0 for a small table: pages are aligned to 4096 > 64), so the lines are inside
        // the mapping.
        let lines = mapping
            .get_mut(padding..padding + bytes)
            .ok_or_else(too_large)?;
        let first = NonNull::from(lines).cast::<Line>();
        let lines = Lines {
            first,
            len,
            _mapping: mapping,
        };
        lines.touch_all();
        Ok(lines)
    }

    /// How many bytes of this table lie on huge pages, as the kernel tells in
    /// `/proc/self/smaps`; `None` where it does not tell. Memory of a neighbouring table that the kernel
    /// keeps in the same mapping may count, but never more than this table is long.
    pub fn huge_bytes(&self) -> Option<usize> {
        let start = self.first.as_ptr().addr();
        let end = start + size_of_val::<[Line]>(self);
        smaps::own_huge_bytes_between(start, end)
    }

    /// Writes to every small page, so that it exists.
    fn touch_all(&self) {
        const SMALL_PAGE: usize = 4096;
        for line in self.iter().step_by(SMALL_PAGE / size_of::<Line>()) {
            line.0[0].store(0, Ordering::Relaxed);
        }
    }
}

impl Deref for Lines {
    type Target = [Line];

    #[inline(always)]
    fn deref(&self) -> &[Line] {
        // SAFETY: `first` is aligned to a line and followed by `len` lines inside our mapping, which
        // lives as long as `self`. The kernel zeroed them, and zero is a valid `AtomicU64`. Nobody
        // has a `&mut` to them.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn lines_are_zeroed_aligned_and_writable_to_the_last() {
        for len in [0, 1, 63, 64, 65, HUGE_PAGE / 64 - 1, HUGE_PAGE / 64 * 3 + 1] {
            let lines = Lines::zeroed(len).unwrap();
            assert_eq!(lines.len(), len);
            let alignment = if len * 64 >= HUGE_PAGE { HUGE_PAGE } else { 64 };
            assert!(lines.as_ptr().addr().is_multiple_of(alignment));
            for line in lines.iter() {
                for word in &line.0 {
                    assert_eq!(word.swap(u64::MAX, Ordering::Relaxed), 0);
                }
            }
        }
    }

    #[test]
    fn places_of_a_word_are_found() {
        let line = Line::default();
        let (a, b) = (7 << 32, 9 << 32);
        let words = [a, 7, b | 7, a | 1, 0, u64::MAX, a << 1, a | 9];
        for (place, word) in line.0.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        for tag in [0, 7, 9, 14, u32::MAX, 5] {
            for any in [0, 1, 0xffff, u64::from(u32::MAX), 7 << 31, u64::MAX] {
                let word = u64::from(tag) << 32 | 9;
                let found = line.places_like(word, any);
                assert_eq!(found, line.like_one_by_one(word, any));
                for (place, own) in words.iter().enumerate() {
                    assert_eq!(found >> place & 1 == 1, own & !any == word & !any);
                }
            }
        }
    }

    #[test]
    fn columns_are_those_of_rows() {
        let bytes: [u8; 128] = std::array::from_fn(|at| at as u8);
        let rows = || [0, 1, 2, 3, 4, 5, 6, 7].map(|row| &bytes.as_chunks().0[row]);
        assert_eq!(columns(rows()), columns_one_by_one(rows()));
        let last = u32::from_le_bytes([124, 125, 126, 127]);
        assert_eq!(columns(rows())[3][7], last);
    }

    #[test]
    fn lanes_are_found() {
        let mut lanes = [1; 32];
        for lane in [0, 3, 7, 8, 31] {
            lanes[lane] = 0;
            assert_eq!(lanes_with(&lanes, 0), lanes_with_one_by_one(&lanes, 0));
            assert!(lanes_with(&lanes, 0) >> lane & 1 == 1);
        }
        lanes[7] = 1 << 31;
        assert_eq!(lanes_with(&lanes, 0), 1 << 31 | 1 << 8 | 1 << 3 | 1);
    }

    #[test]
    fn a_table_larger_than_memory_is_an_error() {
        assert!(Lines::zeroed(usize::MAX / 2).is_err());
        assert!(Lines::zeroed(1 << 50).is_err());
    }

    #[test]
    fn the_kernel_tells_about_a_real_table() {
        let lines = Lines::zeroed(4 * HUGE_PAGE / 64).unwrap();
        let bytes = lines.huge_bytes().unwrap();
        assert!(bytes.is_multiple_of(HUGE_PAGE) && bytes <= 4 * HUGE_PAGE);
    }

    /// What the standard library finds out by itself agrees, on whatever CPU this runs.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn this_cpu_is_read_as_the_standard_library_reads_it() {
        let cpu = this_cpu();
        macro_rules! compare {
            ($($name:tt)*) => {$(
                let feature = FEATURES.iter().find(|f| f.name == $name).unwrap();
                assert_eq!(feature.is_on(&cpu), is_x86_feature_detected!($name), $name);
            )*};
        }
        compare!("sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "movbe" "lzcnt" "bmi1" "bmi2" "avx");
        compare!("f16c" "fma" "avx2" "avx512f" "avx512dq" "avx512cd" "avx512bw" "avx512vl");
        require_cpu();
    }

    #[test]
    fn prefetching_any_address_is_harmless() {
        for place in [ptr::null::<u8>(), ptr::without_provenance(usize::MAX)] {
            prefetch_read(place);
        }
    }
}
