//! The host's side of a port: a TAP interface of the kernel with the port's addresses.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// What a host interface is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapSetup {
    /// Its name.
    pub name: String,
    /// The name of its port, for messages.
    pub port: String,
    /// The port's link address.
    pub mac: [u8; 6],
    /// The port's MTU.
    pub mtu: u16,
    /// The port's addresses with the lengths of their subnets.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Why there is no host interface.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The interface itself.
    #[error(
        "cannot make the host's interface {name} of port {port}: {source}; {}",
        way_out(source)
    )]
    Create {
        /// Its name.
        name: String,
        /// Its port.
        port: String,
        /// What the system said.
        source: io::Error,
    },
    /// One of its addresses.
    #[error(
        "cannot give {address} to the host's interface {name} of port {port}: {source}; if the kernel \
         has IPv6 disabled, enable it for {name}, or set host = \"off\" for the port"
    )]
    Address {
        /// Its name.
        name: String,
        /// Its port.
        port: String,
        /// The address.
        address: IpAddr,
        /// What the system said.
        source: io::Error,
    },
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "it takes CAP_NET_ADMIN and /dev/net/tun; run as root, or set host = \"off\" for the port"
        }
        io::ErrorKind::ResourceBusy | io::ErrorKind::AlreadyExists => {
            "somebody else has an interface of that name: another rail in this network namespace? \
             Choose another name with host = \"...\" for the port, or set host = \"off\""
        }
        io::ErrorKind::NotFound => {
            "there is no /dev/net/tun: load the module tun, or set host = \"off\" for the port"
        }
        _ => "set host = \"off\" for the port to do without",
    }
}

/// A TAP interface that is up. It goes with this value.
pub struct Tap(SyncDevice);

impl Tap {
    /// Makes the interface in the network namespace of the calling thread.
    pub fn new(setup: &TapSetup) -> Result<Self, TapError> {
        let create = |source| TapError::Create {
            name: setup.name.clone(),
            port: setup.port.clone(),
            source,
        };
        let device = DeviceBuilder::new()
            .name(setup.name.clone())
            .layer(Layer::L2)
            .mac_addr(setup.mac)
            .mtu(setup.mtu)
            .build_sync()
            .map_err(create)?;
        device.set_nonblocking(true).map_err(create)?;
        for &(address, length) in &setup.addresses {
            let added = match address {
                IpAddr::V4(v4) => device.add_address_v4(v4, length),
                IpAddr::V6(v6) => device.add_address_v6(v6, length),
            };
            added.map_err(|source| TapError::Address {
                name: setup.name.clone(),
                port: setup.port.clone(),
                address,
                source,
            })?;
        }
        Ok(Tap(device))
    }

    /// Gives the kernel a frame; `false` if it does not take it.
    pub fn send(&self, frame: &[u8]) -> bool {
        self.0.send(frame).is_ok()
    }

    /// The length of the next frame from the kernel, now in `buffer`; `None` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        self.0.recv(buffer).ok()
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
