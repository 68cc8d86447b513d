//! Sets of CPUs: which ones a thread may run on.

use std::fmt;

use dpdk_sys as c;

use crate::errno::Errno;

/// The CPUs a thread may run on; prints as `0-3,6`.
#[derive(Clone, PartialEq, Eq)]
pub struct CpuSet {
    bits: [u64; c::SHIM_CPU_WORDS as usize],
}

impl CpuSet {
    /// CPUs are numbered below this.
    pub const LIMIT: usize = c::SHIM_CPU_WORDS as usize * 64;

    /// Only `cpu`, or nothing when the number is out of range.
    pub fn only(cpu: usize) -> Option<CpuSet> {
        let mut bits = [0; c::SHIM_CPU_WORDS as usize];
        *bits.get_mut(cpu / 64)? |= 1 << (cpu % 64);
        Some(CpuSet { bits })
    }

    /// Where the calling thread may run.
    pub fn of_this_thread() -> Result<CpuSet, Errno> {
        let mut cpus = c::shim_cpus::default();
        // SAFETY: the pointer is to a valid, writable struct for the time of the call.
        match unsafe { c::shim_affinity_get(&mut cpus) } {
            0 => Ok(CpuSet { bits: cpus.bits }),
            error => Err(Errno::from_return(error)),
        }
    }

    /// Lets the calling thread run on these CPUs only.
    pub fn apply_to_this_thread(&self) -> Result<(), Errno> {
        let cpus = c::shim_cpus { bits: self.bits };
        // SAFETY: the pointer is to a valid struct that the call only reads.
        match unsafe { c::shim_affinity_set(&cpus) } {
            0 => Ok(()),
            error => Err(Errno::from_return(error)),
        }
    }

    /// Whether `cpu` is in the set.
    pub fn contains(&self, cpu: usize) -> bool {
        self.bits
            .get(cpu / 64)
            .is_some_and(|word| word >> (cpu % 64) & 1 == 1)
    }

    /// The numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..Self::LIMIT).filter(|&cpu| self.contains(cpu))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut cpus = self.iter().peekable();
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if_eq(&(last + 1)) {
                last = next;
            }
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cpus: &[usize]) -> CpuSet {
        let mut bits = [0; c::SHIM_CPU_WORDS as usize];
        for &cpu in cpus {
            bits[cpu / 64] |= 1 << (cpu % 64);
        }
        CpuSet { bits }
    }

    #[test]
    fn prints_ranges() {
        assert_eq!(set(&[0]).to_string(), "0");
        assert_eq!(
            set(&[0, 1, 2, 5, 63, 64, 65, 1023]).to_string(),
            "0-2,5,63-65,1023"
        );
        assert_eq!(set(&[]).to_string(), "");
    }

    #[test]
    fn bounds() {
        assert!(CpuSet::only(CpuSet::LIMIT).is_none());
        let last = CpuSet::only(CpuSet::LIMIT - 1).expect("the last number is in range");
        assert!(last.contains(CpuSet::LIMIT - 1));
        assert!(!last.contains(CpuSet::LIMIT));
    }

    #[test]
    fn this_thread_has_a_cpu() {
        let cpus = CpuSet::of_this_thread().expect("affinity can be read");
        assert!(cpus.iter().next().is_some());
        cpus.apply_to_this_thread()
            .expect("its own affinity can be set");
    }
}
