//! DPDK's error numbers.

use std::ffi::CStr;
use std::fmt;

use dpdk_sys as c;

/// An error number, positive as in `errno.h`; prints as DPDK's words for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(i32);

/// The numbers this crate decides on; the same on every Linux architecture DPDK runs on.
pub(crate) const ENOMEM: i32 = 12;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const ENODEV: i32 = 19;
pub(crate) const EINVAL: i32 = 22;
pub(crate) const ENOBUFS: i32 = 105;
pub(crate) const ENOSYS: i32 = 38;
pub(crate) const ENOTSUP: i32 = 95;

impl Errno {
    /// From a function's return value, which DPDK gives as a negative error number.
    pub(crate) fn from_return(value: i32) -> Errno {
        Errno(value.saturating_abs())
    }

    /// From the calling thread's `rte_errno`, for functions that return only null or -1.
    pub(crate) fn last() -> Errno {
        // SAFETY: reads a thread-local integer; no precondition.
        Errno(unsafe { c::shim_errno() })
    }

    /// The number itself.
    pub fn code(self) -> i32 {
        self.0
    }

    /// Whether the driver said that it has no such function.
    pub(crate) fn is_unsupported(self) -> bool {
        self.0 == ENOTSUP || self.0 == ENOSYS
    }
}

/// Turns DPDK's "zero or negative error number" into a `Result`.
pub(crate) fn check(value: i32) -> Result<(), Errno> {
    if value >= 0 {
        Ok(())
    } else {
        Err(Errno::from_return(value))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: `rte_strerror` accepts any number and returns a NUL-terminated string that is either
        // static or the calling thread's own buffer; it is copied before this thread can call it again.
        let words = unsafe { CStr::from_ptr(c::rte_strerror(self.0)) };
        write!(f, "{} ({})", words.to_string_lossy(), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_words_and_number() {
        assert_eq!(
            Errno::from_return(-2).to_string(),
            "No such file or directory (2)"
        );
        assert_eq!(check(-EEXIST).unwrap_err().code(), EEXIST);
        assert!(check(0).is_ok());
    }
}
