//! What a CPU must have for this binary, decided from what CPUID says.
//!
//! A binary built for x86-64-v3 dies of an illegal instruction on an older CPU, at a place that depends
//! on the compiler's mood. [`crate::hw`] asks the CPU before `main` and says in a line what is missing.
//! The standard library cannot be asked: `is_x86_feature_detected!` answers "yes" at compile time for
//! everything the build takes for granted.
//!
//! What is here runs on that older CPU too, though compiled for the newer one. So it does no more than
//! test bits, each behind a [`black_box`] lest the loop over them become vector code or the test an
//! instruction of BMI, and calls nothing.

use std::hint::black_box;

/// What CPUID and XGETBV tell, as far as [`FEATURES`] asks: Intel 64 and IA-32 Architectures Software
/// Developer's Manual, volume 2, "CPUID", and volume 1, section 14.3, for the registers' states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Leaf 1, ECX.
    pub leaf_1: u32,
    /// Leaf 7, subleaf 0, EBX.
    pub leaf_7: u32,
    /// Leaf 0x8000_0001, ECX.
    pub extended: u32,
    /// XCR0: the register states the operating system saves; 0 if it does not use XSAVE.
    pub saved: u64,
}

/// An extension of the instruction set.
#[derive(Debug)]
pub struct Feature {
    /// As the compiler calls it.
    pub name: &'static str,
    /// The compiler was allowed to use it in this build.
    needed: bool,
    word: Word,
    /// Its bit in that word, as a mask.
    bit: u32,
    /// States the operating system must save for it to be usable.
    states: u64,
}

/// The word of [`Cpu`] a feature's bit is in.
#[derive(Debug, Clone, Copy)]
enum Word {
    Leaf1,
    Leaf7,
    Extended,
}

/// Leaf 1, ECX: the operating system uses XSAVE, so XGETBV exists.
pub const OSXSAVE: u32 = 1 << 27;

/// No state beyond what every x86-64 system saves.
const PLAIN: u64 = 0;
/// XCR0 bits 1 and 2: XMM and YMM registers.
const YMM: u64 = 0b110;
/// XCR0 bits 5 to 7 too: mask registers and both halves of ZMM.
const ZMM: u64 = 0b1110_0000 | YMM;

macro_rules! features {
    ($($name:literal $word:ident $number:literal $states:ident,)*) => {
        [$(Feature {
            name: $name,
            needed: cfg!(target_feature = $name),
            word: Word::$word,
            bit: 1 << $number,
            states: $states,
        },)*]
    };
}

/// Everything of the levels x86-64-v2 to v4 that a compiler makes use of by itself.
pub static FEATURES: [Feature; 19] = features![
    "sse3" Leaf1 0 PLAIN,
    "ssse3" Leaf1 9 PLAIN,
    "cmpxchg16b" Leaf1 13 PLAIN,
    "sse4.1" Leaf1 19 PLAIN,
    "sse4.2" Leaf1 20 PLAIN,
    "popcnt" Leaf1 23 PLAIN,
    "movbe" Leaf1 22 PLAIN,
    "lzcnt" Extended 5 PLAIN,
    "bmi1" Leaf7 3 PLAIN,
    "bmi2" Leaf7 8 PLAIN,
    "avx" Leaf1 28 YMM,
    "f16c" Leaf1 29 YMM,
    "fma" Leaf1 12 YMM,
    "avx2" Leaf7 5 YMM,
    "avx512f" Leaf7 16 ZMM,
    "avx512dq" Leaf7 17 ZMM,
    "avx512cd" Leaf7 28 ZMM,
    "avx512bw" Leaf7 30 ZMM,
    "avx512vl" Leaf7 31 ZMM,
];

impl Feature {
    /// Whether the binary may use it and `cpu` cannot. Never, for one built for the baseline.
    pub fn is_missing(&self, cpu: &Cpu) -> bool {
        self.needed && !self.is_on(cpu)
    }

    /// Whether `cpu` has it, and its operating system lets it be used.
    #[inline(never)]
    pub fn is_on(&self, cpu: &Cpu) -> bool {
        let word = match black_box(self.word) {
            Word::Leaf1 => cpu.leaf_1,
            Word::Leaf7 => cpu.leaf_7,
            Word::Extended => cpu.extended,
        };
        black_box(word & self.bit) != 0 && black_box(cpu.saved & self.states) == self.states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Intel Core i7 of 2008.
    const NEHALEM: Cpu = Cpu {
        leaf_1: 0x0098_e3bd,
        leaf_7: 0,
        extended: 0x1,
        saved: 0,
    };

    /// An Intel Core i7 of 2013.
    const HASWELL: Cpu = Cpu {
        leaf_1: 0x7ffa_fbff,
        leaf_7: 0x0000_27ab,
        extended: 0x21,
        saved: 0b111,
    };

    fn lacks(cpu: &Cpu) -> String {
        let lacks = FEATURES.iter().filter(|f| !f.is_on(cpu)).map(|f| f.name);
        lacks.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn cpus_have_what_their_makers_say() {
        let v3 = "movbe lzcnt bmi1 bmi2 avx f16c fma avx2";
        let v4 = "avx512f avx512dq avx512cd avx512bw avx512vl";
        assert_eq!(lacks(&NEHALEM), format!("{v3} {v4}"));
        assert_eq!(lacks(&HASWELL), v4);
        let nothing = lacks(&Cpu::default());
        assert_eq!(nothing.split(' ').count(), FEATURES.len());
    }

    #[test]
    fn registers_that_are_not_saved_cannot_be_used() {
        let no_ymm = Cpu {
            saved: 0b011,
            ..HASWELL
        };
        let lacks = lacks(&no_ymm);
        assert!(lacks.starts_with("avx f16c fma avx2 "), "{lacks}");
    }

    #[test]
    fn only_what_the_build_uses_is_asked_for() {
        for feature in &FEATURES {
            let missing = feature.is_missing(&Cpu::default());
            assert_eq!(missing, feature.needed, "{}", feature.name);
            assert!(!feature.is_missing(&HASWELL) || feature.name.starts_with("avx512"));
        }
    }
}
