//! Devices by name: which port is meant, and why there may be none.

use std::ffi::{CStr, CString, c_char};

use dpdk_sys as c;

use crate::errno::{Errno, check};
use crate::port::PortError;

/// What the names of virtual network devices begin with.
const VIRTUAL: &str = "net_";

/// A device's port name: without arguments, and a PCI address with its domain.
pub(crate) fn port_name(device: &str) -> String {
    let name = device.split(',').next().unwrap_or_default().trim();
    if is_short_pci(name) {
        format!("0000:{name}")
    } else {
        name.to_owned()
    }
}

/// `bb:dd.f` in hexadecimal.
fn is_short_pci(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() == 7
        && bytes.iter().enumerate().all(|(i, byte)| match i {
            2 => *byte == b':',
            5 => *byte == b'.',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// DPDK's number of the port of this name.
pub(crate) fn find(name: &str) -> Option<u16> {
    let c_name = CString::new(name).ok()?;
    let mut id = 0;
    // SAFETY: the name is NUL-terminated, the other pointer is to a variable to fill.
    let failed = unsafe { c::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut id) };
    (failed == 0).then_some(id)
}

/// Has the buses find the device with these arguments and start its driver. EAL must be initialised.
pub(crate) fn probe(device: &CStr) -> Result<(), Errno> {
    // SAFETY: the string is NUL-terminated and only read.
    check(unsafe { c::rte_dev_probe(device.as_ptr()) })
}

/// Takes a virtual device whose port is closed off its bus, so that one of its name can come back. Other
/// devices stay, as hardware does.
pub(crate) fn remove(name: &str) {
    if let (true, Ok(c_name)) = (name.starts_with(VIRTUAL), CString::new(name)) {
        // SAFETY: both strings are NUL-terminated and only read. A virtual device has one port, and it is
        // closed, so nothing refers to the device. A failure leaves it where it was.
        unsafe { c::rte_eal_hotplug_remove(c"vdev".as_ptr(), c_name.as_ptr()) };
    }
}

/// The error for a port that is not there.
pub(crate) fn not_found(name: &str) -> PortError {
    let names: Vec<String> = ports().filter_map(name_of).collect();
    let others = if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    };
    PortError::NotFound {
        port: name.into(),
        others,
        way_out: way_out(name),
    }
}

/// DPDK's numbers of all ports.
fn ports() -> impl Iterator<Item = u16> {
    // SAFETY: DPDK checks the number.
    (0..c::SHIM_MAX_ETHPORTS as u16).filter(|&id| unsafe { c::rte_eth_dev_is_valid_port(id) != 0 })
}

fn name_of(id: u16) -> Option<String> {
    let mut name = [0 as c_char; c::SHIM_ETH_NAME_MAX_LEN as usize];
    // SAFETY: the array is as long as DPDK's names may be; DPDK checks the number.
    let failed = unsafe { c::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) };
    let bytes: Vec<u8> = name.iter().map(|&byte| byte as u8).collect();
    let text = CStr::from_bytes_until_nul(&bytes).ok()?;
    (failed == 0).then(|| text.to_string_lossy().into_owned())
}

/// What keeps a device of this kind from starting, most often.
fn way_out(name: &str) -> &'static str {
    const KINDS: &[(&str, &str)] = &[
        (
            "net_af_packet",
            "Does the interface of iface= exist in this network namespace and is it up? \
             AF_PACKET needs root or CAP_NET_RAW",
        ),
        (
            "net_af_xdp",
            "Does the interface of iface= exist in this network namespace, with the queues asked for? \
             AF_XDP needs root or CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
        ),
        (
            "net_pcap",
            "Can the file of rx_pcap= be read and is it a capture? Can the file of tx_pcap= be written?",
        ),
        (
            "net_tap",
            "Is /dev/net/tun there? TAP needs root or CAP_NET_ADMIN",
        ),
        (
            "net_memif",
            "Can the socket's folder be written to, and does the other side use the same id?",
        ),
        (
            "net_virtio_user",
            "Is /dev/vhost-net there, or the socket of path=?",
        ),
        (
            VIRTUAL,
            "Is the driver's name right, is it part of this build, and are its arguments as documented?",
        ),
    ];
    match KINDS.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        Some((_, way_out)) => way_out,
        None => {
            "Is the address right (lspci -D), and is the device bound to vfio-pci? \
             dpdk-devbind.py --status shows it, dpdk-devbind.py --bind=vfio-pci changes it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_arguments_and_gain_domains() {
        for (device, name) in [
            ("net_null0,size=64", "net_null0"),
            (" net_null0 ", "net_null0"),
            ("3b:00.0", "0000:3b:00.0"),
            ("0000:3b:00.1,txq_inline=1", "0000:3b:00.1"),
            ("3b:00.x", "3b:00.x"),
            ("3x:00.0", "3x:00.0"),
            ("", ""),
        ] {
            assert_eq!(port_name(device), name, "{device}");
        }
    }
}
