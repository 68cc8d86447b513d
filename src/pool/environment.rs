//! What a configuration is held against: the machine it is for.

use std::fs;

/// What is known of the machine a configuration is for. Passed in, so that the answer of
/// [`parse`](super::parse()) depends on its arguments alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The cores it has. `None`: not known, any core will do.
    pub cpus: Option<Vec<usize>>,
}

impl Environment {
    /// Any machine: for verbs that only look at a configuration, such as `rail trace`.
    pub fn any() -> Self {
        Self { cpus: None }
    }

    /// A machine with these cores.
    pub fn with_cpus(cpus: impl IntoIterator<Item = usize>) -> Self {
        Self {
            cpus: Some(cpus.into_iter().collect()),
        }
    }

    /// This machine: its cores that are online.
    pub fn this_machine() -> Self {
        let online = fs::read_to_string("/sys/devices/system/cpu/online").ok();
        Self {
            cpus: online.and_then(|list| cpu_list(list.trim())),
        }
    }
}

/// The highest core number believed, so that a list cannot ask for endless memory: well above
/// what Linux supports (`NR_CPUS`, 8192).
const MAX_CPU: usize = 65_535;

/// Reads a list of cores as the kernel writes it: `0-3,6`. `None` if it is not one.
pub fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse().ok().filter(|cpu| *cpu <= MAX_CPU);
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        let cases: &[(&str, Option<&[usize]>)] = &[
            ("0", Some(&[0])),
            ("0-3", Some(&[0, 1, 2, 3])),
            ("0-1,4,6-7", Some(&[0, 1, 4, 6, 7])),
            ("", None),
            ("3-1", None),
            ("0-", None),
            ("a", None),
            ("0-99999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(cpu_list(text).as_deref(), *expected, "{text:?}");
        }
    }

    #[test]
    fn this_machine_has_a_core() {
        assert!(
            Environment::this_machine()
                .cpus
                .is_some_and(|cpus| !cpus.is_empty())
        );
    }
}
