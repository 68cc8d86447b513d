//! What the programs of a lab read: the configuration of each rail and of each backend's nginx.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::network::INTERFACE;
use super::topology::{PREFIX_LEN, Role, Topology, VIP};

/// The service of the demo, GRE to the backends.
pub const SERVICE: &str = "web";
/// The port of [`SERVICE`].
pub const PORT: u16 = 80;
/// The same backends a second time, IPIP to them.
pub const IPIP_SERVICE: &str = "web-ipip";
/// The port of [`IPIP_SERVICE`].
pub const IPIP_PORT: u16 = 8080;
/// Where each rail serves `/metrics` and `/healthz`, inside its own namespace.
pub const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// The hash key of the pool: the same on all rails, and the same in every lab, so that shares can
/// be compared between runs.
const HASH_KEY: &str = "000102030405060708090a0b0c0d0e0f";
/// The GRE key of packets between the rails.
const PEER_KEY: u32 = 0x7261_696c;
/// Queue pairs of a rail's port, as far as there are cores to serve them.
const QUEUE_PAIRS: usize = 2;
/// Memory of a rail's EAL, MiB, from ordinary pages: room for some 16,000 packet buffers.
const MEMORY_MB: u32 = 96;
/// The packet rings of an af_packet port: 4,096 frames of 2 KiB per queue and direction.
const RINGS: &str = "qdisc_bypass=1,blocksz=65536,framesz=2048,framecnt=4096";

/// The state of a backend in the configuration: `up`, `drain` or `down`.
pub type States = BTreeMap<String, &'static str>;

/// The configuration file of the rail with index `index`, with backends `up` unless `states` says
/// otherwise.
pub fn rail_config(
    topology: &Topology,
    index: usize,
    cores: &[usize],
    socket: &Path,
    states: &States,
) -> String {
    let rail = &topology.rails[index];
    let (workers, control) = deal_cores(cores, index);
    let mut out = String::new();
    let _ = write!(
        out,
        r#"[node]
name = "{name}"
workers = {workers:?}
control_core = {control}
metrics = "{METRICS}"
control_socket = "{socket}"

[dpdk]
hugepages = "never"
memory_mb = {MEMORY_MB}

[[port]]
device = "net_af_packet0,iface={INTERFACE},qpairs={queues},{RINGS}"
address = ["{address}/{PREFIX_LEN}"]
gateway = ["{gateway}"]

[tunnel]
source = "{address}"

[pool]
hash_key = "{HASH_KEY}"
table_size = 65537
peer_key = {PEER_KEY:#x}
"#,
        name = rail.name,
        socket = socket.display(),
        queues = workers.len(),
        address = rail.address,
        gateway = Role::Rail.gateway(),
    );
    for peer in &topology.rails {
        let _ = write!(
            out,
            "\n[[peer]]\nname = \"{}\"\naddress = \"{}\"\n",
            peer.name, peer.address
        );
    }
    for (service, port, encap) in [(SERVICE, PORT, "gre"), (IPIP_SERVICE, IPIP_PORT, "ipip")] {
        let _ = write!(
            out,
            "\n[[service]]\nname = \"{service}\"\nvip = \"{VIP}\"\nprotocol = \"tcp\"\n\
             port = {port}\nencap = \"{encap}\"\n"
        );
        for backend in &topology.backends {
            let state = states.get(&backend.name).copied().unwrap_or("up");
            let _ = write!(
                out,
                "\n[[service.backend]]\nname = \"{}\"\naddress = \"{}\"\nstate = \"{state}\"\n",
                backend.name, backend.address
            );
        }
    }
    out
}

/// The configuration of one backend's nginx: it answers every request on the VIP with its own name.
/// All its paths are relative to the directory it is started with.
pub fn nginx_config(backend: &str) -> String {
    format!(
        r#"user root;
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000;
    keepalive_timeout 300s;
    client_max_body_size 0;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp;
    uwsgi_temp_path tmp; scgi_temp_path tmp;
    server {{
        listen {VIP}:{PORT} backlog=4096;
        listen {VIP}:{IPIP_PORT} backlog=4096;
        location / {{ return 200 "{backend}\n"; }}
        location /files/ {{ root {FILES}; limit_rate {LARGE_FILE_RATE}; }}
    }}
}}
"#
    )
}

/// The directory, beside nginx's configuration, of what it serves under `/files/`.
pub const FILES: &str = "www";

/// How fast nginx sends a file, bytes per second.
const LARGE_FILE_RATE: u64 = 16 << 20;
/// Size of the file that nginx serves as `/files/large`, bytes: a transfer of some five seconds.
pub const LARGE_FILE_SIZE: u64 = 5 * LARGE_FILE_RATE;

/// Where that file is.
pub fn large_file(nginx_dir: &Path) -> PathBuf {
    nginx_dir.join(FILES).join("files").join("large")
}

/// The worker cores of a rail and its control core. Rails get cores of their own while there are
/// enough; on a smaller machine they share, and the control thread shares with a worker.
fn deal_cores(cores: &[usize], index: usize) -> (Vec<usize>, usize) {
    let core = |i: usize| cores[i % cores.len()];
    let first = index * (QUEUE_PAIRS + 1);
    let workers = (0..QUEUE_PAIRS.min(cores.len()))
        .map(|i| core(first + i))
        .collect();
    (workers, core(first + QUEUE_PAIRS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_dealt_apart_while_there_are_enough() {
        let eight: Vec<usize> = (0..8).collect();
        assert_eq!(deal_cores(&eight, 0), (vec![0, 1], 2));
        assert_eq!(deal_cores(&eight, 1), (vec![3, 4], 5));
        assert_eq!(deal_cores(&[0, 1], 0), (vec![0, 1], 0));
        assert_eq!(deal_cores(&[0, 1], 1), (vec![1, 0], 1));
        assert_eq!(deal_cores(&[4], 1), (vec![4], 4));
    }
}
