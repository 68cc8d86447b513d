//! `dpdk.args`: arguments of the EAL that say what a key of the configuration says too.

use super::fields::Fields;
use super::reader::{Finding, Reader};
use crate::pool::{Dpdk, HugePages};

/// Options that choose cores. The rail pins its own threads, and an EAL that pins as well would
/// put the control threads on a worker's core.
const CORE_OPTIONS: [&str; 6] = [
    "-c",
    "-l",
    "-s",
    "--lcores",
    "--main-lcore",
    "--master-lcore",
];

/// Reads `dpdk.args` into `dpdk`. What has a key of its own (`-m`, `--no-huge`) is moved into that
/// field, so that only one place says how much memory of which kind the EAL takes.
pub fn arguments(reader: &mut Reader, fields: &Fields<'_>, dpdk: &mut Dpdk) {
    let Some(args) = fields.list::<String>(reader, "args") else {
        return;
    };
    let Some(value) = fields.get("args") else {
        return;
    };
    let span = value.span();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let (option, inline) = split(&arg);
        if CORE_OPTIONS.contains(&option) {
            let message = format!("the EAL argument {arg:?} chooses cores");
            let help = "leave it out; node.workers and node.control_core choose them";
            reader.report(Finding::error(span.clone(), message).help(help));
        } else if option == "--no-huge" {
            if dpdk.hugepages == HugePages::Require {
                let message = "the EAL argument \"--no-huge\" contradicts hugepages = \"require\"";
                reader.report(Finding::error(span.clone(), message).help("leave one of them out"));
            }
            dpdk.hugepages = HugePages::Never;
        } else if option == "-m" {
            let megabytes = inline
                .map(str::to_owned)
                .or_else(|| args.next())
                .unwrap_or_default();
            match megabytes.parse() {
                Ok(number) if Dpdk::MEMORY_MB.contains(&number) => dpdk.memory_mb = number,
                _ => {
                    let (low, high) = (Dpdk::MEMORY_MB.start(), Dpdk::MEMORY_MB.end());
                    let message =
                        format!("the EAL argument -m takes {low} to {high} MiB, not {megabytes:?}");
                    let help = "use memory_mb = 512 instead";
                    reader.report(Finding::error(span.clone(), message).help(help));
                }
            }
        } else if arg.contains('\0') || arg.is_empty() {
            let message = format!("{arg:?} cannot be an EAL argument");
            reader.report(Finding::error(span.clone(), message).help("leave it out"));
        } else {
            dpdk.args.push(arg);
        }
    }
}

/// An argument as option and the value that stands in it: `-m64`, `--lcores=1`.
fn split(arg: &str) -> (&str, Option<&str>) {
    if arg.starts_with("--") {
        return match arg.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (arg, None),
        };
    }
    let short = arg.starts_with('-') && arg.len() > 2 && arg.is_char_boundary(2);
    if !short {
        return (arg, None);
    }
    let (option, value) = arg.split_at(2);
    (option, Some(value.trim_start_matches([' ', '='])))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn options_and_values() {
        assert_eq!(split("-m"), ("-m", None));
        assert_eq!(split("-m64"), ("-m", Some("64")));
        assert_eq!(split("-l 0"), ("-l", Some("0")));
        assert_eq!(split("--lcores=0"), ("--lcores", Some("0")));
        assert_eq!(split("--no-huge"), ("--no-huge", None));
        assert_eq!(split("64"), ("64", None));
        assert_eq!(split("-\u{e9}"), ("-\u{e9}", None));
    }
}
