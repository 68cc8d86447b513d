//! Generates the bindings, compiles the shim and tells the linker which DPDK libraries to take.
//!
//! Dynamic linking (the default) names the few libraries this project calls; EAL loads the drivers
//! from the distribution's plugin folder by itself. The feature `static` links the archives instead:
//! see `link_static`.

use std::env;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The oldest DPDK whose names the bindings use; Debian 12 ships it.
const OLDEST_DPDK: &str = "22.11";

/// The DPDK libraries whose functions this project calls, in no particular order.
const CALLED: &[&str] = &["eal", "ethdev", "mbuf", "mempool", "net_ring", "ring"];

/// A driver archive, what it needs of DPDK beyond `STATIC_BASE`, and of the system.
struct Pmd {
    archive: &'static str,
    dpdk: &'static [&'static str],
    system: &'static [&'static str],
}

const fn pmd(
    archive: &'static str,
    dpdk: &'static [&'static str],
    system: &'static [&'static str],
) -> Pmd {
    Pmd {
        archive,
        dpdk,
        system,
    }
}

/// The archives that every static build holds: EAL, the buses, the mempool driver, and the libraries
/// those and the drivers call.
const STATIC_BASE: &[&str] = &[
    "bus_pci",
    "bus_vdev",
    "eal",
    "ethdev",
    "hash",
    "kvargs",
    "mbuf",
    "mempool",
    "mempool_ring",
    "meter",
    "net",
    "pci",
    "rcu",
    "ring",
    "telemetry",
];

/// Libraries that `STATIC_BASE` calls in some versions only: logging left EAL in 23.11.
const STATIC_BASE_IF_FOUND: &[&str] = &["log"];

/// System libraries that `STATIC_BASE` needs: EAL reads the NUMA layout and uses `strlcpy`.
const STATIC_SYSTEM: &[&str] = &["numa", "bsd", "m", "dl", "pthread"];

/// System libraries that the archives need or not, depending on how they were built: compressed firmware,
/// device trees, TAP's flow rules. The linker takes them only if something refers to them.
const STATIC_SYSTEM_IF_FOUND: &[&str] = &["archive", "fdt", "bpf"];

/// Names drivers to leave out of a static build, separated by spaces, such as `net_mlx5 net_af_xdp`, for
/// a binary that shall start without their system libraries.
const WITHOUT: &str = "DPDK_SYS_WITHOUT";

/// The drivers of a static build: virtual ports, paravirtual ones, and the NICs of 1 to 100 Gbit/s
/// hosts. `mempool_stack` and the rest of DPDK's drivers are left to dynamic builds.
const PMDS: &[Pmd] = &[
    pmd("net_null", &[], &[]),
    pmd("net_ring", &[], &[]),
    pmd("net_pcap", &[], &["pcap"]),
    pmd("net_af_packet", &[], &[]),
    pmd("net_af_xdp", &[], &["xdp", "bpf"]),
    pmd("net_memif", &[], &[]),
    pmd("net_tap", &["gso"], &[]),
    pmd("net_virtio", &[], &[]),
    pmd("net_vmxnet3", &[], &[]),
    pmd("net_e1000", &[], &[]),
    pmd("net_ixgbe", &["security", "cryptodev"], &[]),
    pmd("net_i40e", &[], &[]),
    pmd("net_iavf", &["common_iavf", "security", "cryptodev"], &[]),
    pmd("net_ice", &["common_iavf"], &[]),
    pmd(
        "net_mlx5",
        &["common_mlx5", "bus_auxiliary"],
        &["mlx5", "ibverbs"],
    ),
];

fn main() {
    for file in ["build.rs", "shim.c", "shim.h"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let dpdk = probe();
    let flags = compiler_flags(&dpdk);
    bindings(&flags);
    shim(&flags);
    if env::var_os("CARGO_FEATURE_STATIC").is_some() {
        link_static(&dpdk);
    } else {
        link_dynamic(&dpdk);
    }
}

/// Ends the build with one message that says what to install.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}

fn probe() -> pkg_config::Library {
    let found = pkg_config::Config::new()
        .atleast_version(OLDEST_DPDK)
        .cargo_metadata(false)
        .probe("libdpdk");
    match found {
        Ok(library) => library,
        Err(error) => {
            // pkg-config's own words go above cargo's one-line error.
            println!("cargo::warning={}", first_line(&error.to_string()));
            fail(&format!(
                "DPDK {OLDEST_DPDK} or newer not found through pkg-config (libdpdk). On Debian: \
                 apt install libdpdk-dev pkg-config. For DPDK built elsewhere, set PKG_CONFIG_PATH to \
                 the folder of its libdpdk.pc."
            ))
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

/// Flags for clang and the C compiler. They come from pkg-config itself because the `pkg-config` crate
/// drops what it does not know, and DPDK's headers need `-include rte_config.h` and `-march`.
fn compiler_flags(dpdk: &pkg_config::Library) -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(program).args(["--cflags", "libdpdk"]).output();
    let text = match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => fail("pkg-config --cflags libdpdk failed after the library was found"),
    };
    let mut flags: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    for path in &dpdk.include_paths {
        let flag = format!("-I{}", path.display());
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    flags
}

fn bindings(flags: &[String]) {
    // The first use of libclang panics when the library cannot be loaded.
    panic::set_hook(Box::new(|_| {}));
    let clang = panic::catch_unwind(bindgen::clang_version);
    drop(panic::take_hook());
    if clang.is_err() {
        fail(
            "libclang not found, which bindgen needs to read DPDK's headers. On Debian: apt install \
             libclang-dev clang. For one built elsewhere, set LIBCLANG_PATH to the folder of libclang.so.",
        );
    }
    let generated = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .use_core()
        .generate_comments(false)
        .layout_tests(false)
        .derive_default(true)
        .derive_debug(false)
        .prepend_enum_name(false)
        .allowlist_function("shim_.*")
        .allowlist_var("SHIM_.*")
        .allowlist_var("RTE_MBUF_(L2|L3|L4)_LEN_BITS")
        .allowlist_function(
            "rte_(eal_init|eal_cleanup|eal_hotplug_remove|version|strerror|dev_probe)",
        )
        .allowlist_function("rte_thread_(un)?register")
        .allowlist_function("rte_pktmbuf_(pool_create|free_bulk)")
        .allowlist_function("rte_mempool_(avail_count|free)")
        .allowlist_function("rte_mbuf_dyn_rx_timestamp_register")
        .allowlist_function("rte_ring_(create|free)")
        .allowlist_function("rte_eth_from_rings")
        .allowlist_function(
            "rte_eth_dev_(get_port_by_name|get_name_by_port|is_valid_port|info_get|socket_id)",
        )
        .allowlist_function("rte_eth_dev_(configure|start|stop|close|get_mtu|set_mtu)")
        .allowlist_function("rte_eth_dev_rss_(reta_update|reta_query|hash_conf_get)")
        .allowlist_function("rte_eth_dev_(adjust_nb_rx_tx_desc|default_mac_addr_set)")
        .allowlist_function("rte_eth_(rx|tx)_queue_setup")
        .allowlist_function(
            "rte_eth_(promiscuous_(enable|disable|get)|allmulticast_enable|macaddr_get)",
        )
        .allowlist_function("rte_eth_(stats_get|stats_reset|xstats_get|xstats_get_names)")
        // Handles: only pointers to them exist, so their fields stay out of Rust.
        .blocklist_type(
            "rte_(mbuf|mempool|ring|device)(__bindgen.*|_.*)?|__rte_ring.*|rte_memzone.*",
        )
        .generate();
    let generated = match generated {
        Ok(generated) => generated,
        Err(error) => fail(&format!(
            "bindgen cannot read DPDK's headers: {}. When stddef.h is missing, on Debian: apt install clang.",
            first_line(&error.to_string())
        )),
    };
    let out =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    if let Err(error) = generated.write_to_file(&out) {
        fail(&format!("cannot write {}: {error}", out.display()));
    }
}

fn shim(flags: &[String]) {
    let mut build = cc::Build::new();
    // The shim stands for inline code, so it is optimised in every profile. DPDK's own headers do not
    // pass -Wextra on every version.
    build.file("shim.c").opt_level(2).extra_warnings(false);
    for flag in flags {
        build.flag(flag);
    }
    if let Err(error) = build.try_compile("dpdk_shim") {
        fail(&format!(
            "the C shim over DPDK's inline functions does not compile: {error}"
        ));
    }
}

fn link_dynamic(dpdk: &pkg_config::Library) {
    for path in &dpdk.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for library in CALLED {
        println!("cargo::rustc-link-lib=dylib=rte_{library}");
    }
}

/// Links whole archives, because drivers and buses register themselves from constructors that nothing
/// refers to. A driver whose archive or system library is missing is left out with a warning.
fn link_static(dpdk: &pkg_config::Library) {
    let folder = archive_folder(dpdk);
    println!("cargo::rustc-link-search=native={}", folder.display());
    let has_archive = |name: &str| folder.join(format!("librte_{name}.a")).is_file();

    let mut archives: Vec<&str> = Vec::new();
    let mut system: Vec<&str> = STATIC_SYSTEM.to_vec();
    for &name in STATIC_BASE {
        if !has_archive(name) {
            fail(&format!(
                "the feature `static` needs librte_{name}.a, which is not in {}",
                folder.display()
            ));
        }
        archives.push(name);
    }
    archives.extend(STATIC_BASE_IF_FOUND.iter().filter(|name| has_archive(name)));
    system.extend(
        STATIC_SYSTEM_IF_FOUND
            .iter()
            .filter(|name| linker_finds(name)),
    );

    println!("cargo::rerun-if-env-changed={WITHOUT}");
    let without = env::var(WITHOUT).unwrap_or_default();
    for pmd in PMDS {
        let archive = std::iter::once(&pmd.archive)
            .chain(pmd.dpdk)
            .find(|name| !has_archive(name));
        let library = pmd.system.iter().find(|name| !linker_finds(name));
        if without.split_whitespace().any(|name| name == pmd.archive) {
            continue;
        } else if let Some(missing) = archive {
            println!(
                "cargo::warning=driver {} left out: librte_{missing}.a is missing",
                pmd.archive
            );
        } else if let Some(missing) = library {
            println!(
                "cargo::warning=driver {} left out: lib{missing} is missing",
                pmd.archive
            );
        } else {
            archives.push(pmd.archive);
            archives.extend(pmd.dpdk);
            system.extend(pmd.system);
        }
    }
    archives.sort_unstable();
    archives.dedup();
    for archive in archives {
        // Not bundled into the rlib: the final link reads the archives once, in place.
        println!("cargo::rustc-link-lib=static:+whole-archive,-bundle=rte_{archive}");
    }
    system.sort_unstable();
    system.dedup();
    for library in system {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

/// Where the archives are: pkg-config's `libdir`, for a system folder is never among the link paths.
fn archive_folder(dpdk: &pkg_config::Library) -> PathBuf {
    match pkg_config::get_variable("libdpdk", "libdir") {
        Ok(libdir) if !libdir.is_empty() => PathBuf::from(libdir),
        _ => match dpdk.link_paths.first() {
            Some(path) => path.clone(),
            None => fail("pkg-config does not say where libdpdk's archives are (variable libdir)"),
        },
    }
}

/// Asks the C compiler, whose search path the linker will use. It echoes a name it cannot find.
fn linker_finds(library: &str) -> bool {
    let compiler = cc::Build::new().get_compiler();
    let file = format!("lib{library}.so");
    let output = compiler
        .to_command()
        .arg(format!("-print-file-name={file}"))
        .output();
    output
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_absolute())
}
