//! What to ask of EAL: memory, devices, verbosity; compiled to its command-line arguments.

use std::fs;
use std::path::Path;

use dpdk_sys as c;

use crate::cpus::CpuSet;

/// Memory for packets and rings, in MiB, when nothing else is asked for: 16,384 mbufs of the default
/// size take 40 MiB, and drivers want some for their rings.
pub const DEFAULT_MEMORY_MB: u32 = 64;

/// Where packet memory comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Huge {
    /// Huge pages when enough of them are free and usable, ordinary pages otherwise. A NIC needs huge pages;
    /// virtual ports run on either.
    #[default]
    Auto,
    /// Ordinary pages.
    No,
    /// This many MiB of huge pages; initialisation fails when they are not free.
    Mb(u32),
}

/// Options for [`crate::Eal::init`]. All have defaults that suit virtual ports in an unprivileged
/// process; several such processes run side by side.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// Page size of packet memory.
    pub huge: Huge,
    /// Packet memory in MiB for [`Huge::Auto`] and [`Huge::No`].
    pub memory_mb: u32,
    /// Virtual devices with their arguments, such as `net_af_packet0,iface=veth0`.
    pub vdevs: Vec<String>,
    /// Whether to look for devices on the PCI bus.
    pub pci: bool,
    /// PCI addresses to use, such as `0000:3b:00.0`; empty means all that are bound to a DPDK driver.
    /// Not empty implies [`EalOptions::pci`].
    pub pci_allow: Vec<String>,
    /// Further EAL arguments; they come last, so they win over the ones made here.
    pub extra: Vec<String>,
}

impl Default for EalOptions {
    fn default() -> Self {
        EalOptions {
            huge: Huge::Auto,
            memory_mb: DEFAULT_MEMORY_MB,
            vdevs: Vec::new(),
            pci: false,
            pci_allow: Vec::new(),
            extra: Vec::new(),
        }
    }
}

impl EalOptions {
    /// Ordinary pages and these virtual devices: what tests use.
    pub fn no_huge(vdevs: impl IntoIterator<Item = impl Into<String>>) -> EalOptions {
        EalOptions {
            huge: Huge::No,
            vdevs: vdevs.into_iter().map(Into::into).collect(),
            ..EalOptions::default()
        }
    }

    /// The arguments for [`crate::Eal::init`].
    pub fn args(&self) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        match self.huge {
            Huge::No => self.ordinary_pages(&mut args),
            Huge::Mb(mb) => huge_pages(mb, &mut args),
            Huge::Auto
                if free_huge_mb(Path::new(HUGE_PAGES)) >= u64::from(self.memory_mb)
                    && huge_pages_fit() =>
            {
                huge_pages(self.memory_mb, &mut args);
            }
            Huge::Auto => self.ordinary_pages(&mut args),
        }
        args.push("--no-telemetry".into());
        if !self.pci && self.pci_allow.is_empty() {
            args.push("--no-pci".into());
        }
        for address in &self.pci_allow {
            args.push(format!("--allow={address}"));
        }
        for vdev in &self.vdevs {
            args.push(format!("--vdev={vdev}"));
        }
        args.extend(self.extra.iter().cloned());
        args
    }

    fn ordinary_pages(&self, args: &mut Vec<String>) {
        // EAL refuses --in-memory here; --no-shconf keeps processes apart instead.
        args.extend(["--no-huge".into(), "--no-shconf".into()]);
        args.extend(["-m".into(), self.memory_mb.to_string()]);
    }
}

/// Arguments that [`crate::Eal::init`] puts before the caller's.
///
/// EAL pins the calling thread, and so every thread it starts later, to the CPUs of its main lcore.
/// Giving that lcore all of the process's CPUs leaves everyone free; workers pin themselves.
pub(crate) fn leading_args(cpus: &CpuSet) -> Vec<String> {
    vec![
        "rail".into(),
        format!("--lcores=0@({cpus})"),
        // What is wrong goes to stderr; what is merely interesting does not.
        "--log-level=warning".into(),
    ]
}

/// One folder per page size, each with a file `free_hugepages`.
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

fn huge_pages(mb: u32, args: &mut Vec<String>) {
    // --in-memory: no files on hugetlbfs, so no mount, no privilege, nothing left behind.
    args.extend(["--in-memory".into(), "-m".into(), mb.to_string()]);
}

/// MiB of free and usable huge pages of all sizes; what cannot be read counts as none.
fn free_huge_mb(folder: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(folder) else {
        return 0;
    };
    sizes
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let kb: u64 = name
                .to_str()?
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let free = fs::read_to_string(entry.path().join("free_hugepages")).ok()?;
            let free: u64 = free.trim().parse().ok()?;
            (free > 0 && huge_page_usable(kb)).then(|| kb.saturating_mul(free) / 1024)
        })
        .sum()
}

/// Whether the process has the address space that EAL reserves for huge pages, far more than it uses: a limit
/// (`ulimit -v`) may forbid it, and valgrind has no room for it.
fn huge_pages_fit() -> bool {
    // SAFETY: the function reserves an area of its own, touches nothing of it, and gives it back.
    unsafe { c::shim_huge_pages_fit() != 0 }
}

/// Whether this process may have a page of this size: EAL cannot be initialised a second time, so
/// [`Huge::Auto`] has to know beforehand.
fn huge_page_usable(kb: u64) -> bool {
    let bytes = kb.saturating_mul(1024);
    // SAFETY: the size is a power of two, as asked for; the function maps a page of its own and unmaps it.
    bytes.is_power_of_two() && unsafe { c::shim_huge_page_usable(bytes) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_pages_by_request() {
        let options = EalOptions::no_huge(["net_null0", "net_null1,size=64"]);
        let args = options.args();
        assert_eq!(
            args,
            [
                "--no-huge",
                "--no-shconf",
                "-m",
                "64",
                "--no-telemetry",
                "--no-pci",
                "--vdev=net_null0",
                "--vdev=net_null1,size=64",
            ]
        );
    }

    #[test]
    fn huge_pages_with_a_nic() {
        let options = EalOptions {
            huge: Huge::Mb(512),
            pci_allow: vec!["0000:3b:00.0".into()],
            extra: vec!["--log-level=pmd:debug".into()],
            ..EalOptions::default()
        };
        assert_eq!(
            options.args(),
            [
                "--in-memory",
                "-m",
                "512",
                "--no-telemetry",
                "--allow=0000:3b:00.0",
                "--log-level=pmd:debug"
            ]
        );
    }

    #[test]
    fn free_pages_of_a_missing_folder_are_none() {
        assert_eq!(free_huge_mb(Path::new("/nonexistent/hugepages")), 0);
    }
}
