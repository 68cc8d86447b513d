//! NUMA: which node a core is on, and which workers are far from a port.
//!
//! What a worker touches with every packet is to be on its own node. Its connection table is: the worker's
//! thread allocates and touches it itself (see [`ConnOwner::new`](crate::table::conn::ConnOwner::new)).
//! Descriptors and buffers are on the port's node, where the NIC writes them ([`super::buffers`]). So the
//! one thing left to people is to take cores of the node the NIC is on, and a rail says where they have not.
//!
//! The snapshot is on the control core's node for all workers: it is read only, and what of it a busy service
//! needs stays in the workers' caches.

use std::fs;
use std::path::PathBuf;

/// The machine's NUMA nodes, as the kernel shows them.
#[derive(Debug, Clone)]
pub struct Nodes {
    root: PathBuf,
}

impl Default for Nodes {
    /// Those of this machine.
    fn default() -> Self {
        Nodes::at("/sys/devices/system/node")
    }
}

impl Nodes {
    /// Those that a directory shows: `nodeN` with an entry `cpuC` for each of its cores, and their list in
    /// `cpulist`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Nodes { root: root.into() }
    }

    /// The node of a core; `None` where the kernel knows no nodes, or not this core.
    pub fn of_core(&self, core: usize) -> Option<u32> {
        let nodes = fs::read_dir(&self.root).ok()?.flatten();
        let mut holding = nodes.filter(|node| node.path().join(format!("cpu{core}")).exists());
        let name = holding.next()?.file_name();
        name.to_str()?.strip_prefix("node")?.parse().ok()
    }

    /// The cores of a node as the kernel lists them, such as `0-3,8-11`.
    fn cores(&self, node: u32) -> Option<String> {
        let list = fs::read_to_string(self.root.join(format!("node{node}/cpulist"))).ok()?;
        let list = list.trim();
        (!list.is_empty()).then(|| list.to_owned())
    }
}

/// A warning for each port that some worker is far from. A port is its name and its node, if that is known.
pub fn far(cores: &[usize], ports: &[(&str, Option<u32>)], nodes: &Nodes) -> Vec<String> {
    let placed: Vec<_> = cores
        .iter()
        .filter_map(|core| Some((*core, nodes.of_core(*core)?)))
        .collect();
    let warning = |&(port, node): &(&str, Option<u32>)| {
        let node = node?;
        let far = placed.iter().filter(|(_, of_core)| *of_core != node);
        let far: Vec<_> = far.map(|(core, _)| core.to_string()).collect();
        if far.is_empty() {
            return None;
        }
        let near = nodes
            .cores(node)
            .map_or(String::new(), |list| format!(" ({list})"));
        let (who, far) = (
            if far.len() == 1 { "core" } else { "cores" },
            far.join(", "),
        );
        Some(format!(
            "{port} is on NUMA node {node}, but the worker {who} {far} on another: every packet then crosses \
             between nodes; give [node].workers cores of node {node}{near}"
        ))
    };
    ports.iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes of two cores, beside entries that are no nodes.
    fn two_nodes() -> (tempfile::TempDir, Nodes) {
        let dir = tempfile::tempdir().expect("a directory");
        for (node, cores, list) in [(0, [0, 1], "0-1\n"), (1, [2, 3], "2-3\n")] {
            let path = dir.path().join(format!("node{node}"));
            for core in cores {
                fs::create_dir_all(path.join(format!("cpu{core}"))).expect("made");
            }
            fs::write(path.join("cpulist"), list).expect("written");
        }
        fs::write(dir.path().join("possible"), "0-1\n").expect("written");
        let nodes = Nodes::at(dir.path());
        (dir, nodes)
    }

    #[test]
    fn cores_have_nodes() {
        let (_dir, nodes) = two_nodes();
        let of_cores: Vec<_> = (0..5).map(|core| nodes.of_core(core)).collect();
        assert_eq!(of_cores, [Some(0), Some(0), Some(1), Some(1), None]);
        assert_eq!(Nodes::at("/nonexistent").of_core(0), None);
    }

    #[test]
    fn workers_far_from_a_port_are_named() {
        let (_dir, nodes) = two_nodes();
        let ports = [("port0", Some(0)), ("port1", Some(1)), ("port2", None)];
        assert_eq!(
            far(&[1, 2, 3], &ports, &nodes),
            [
                "port0 is on NUMA node 0, but the worker cores 2, 3 on another: every packet then crosses \
                 between nodes; give [node].workers cores of node 0 (0-1)",
                "port1 is on NUMA node 1, but the worker core 1 on another: every packet then crosses \
                 between nodes; give [node].workers cores of node 1 (2-3)",
            ]
        );
        assert_eq!(far(&[2, 3], &ports[1..], &nodes), [""; 0]);
        // Cores or ports that nobody knows the node of are no reason to warn, nor are no cores at all.
        assert_eq!(far(&[7], &ports, &nodes), [""; 0]);
        assert_eq!(far(&[0, 1], &ports[2..], &nodes), [""; 0]);
        assert_eq!(far(&[], &ports, &nodes), [""; 0]);
        assert_eq!(far(&[0, 2], &ports, &Nodes::at("/nonexistent")), [""; 0]);
    }
}
