//! What checks a push: a `pre-receive` hook in the repository, which asks the `rail` binary.
//!
//! The hook belongs to the repository, so a push is checked on whatever way it comes: over HTTP through the rail, over
//! SSH, or from another directory of the machine.

use std::fs;
use std::io::{self, BufRead};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Desired, Fault};
use crate::store::git::{GitBackend, GitOptions};
use crate::store::{BranchName, ObjectId, StoreError};

/// By this a hook is known to be ours.
const MARK: &str = "# Written by \"rail run\": a push to main must be a valid pool.";
/// The verb the hook calls.
pub const VERB: &str = "check-push";

/// Puts the hook into a repository, or brings it up to date. Somebody else's hook is left alone; says whether ours
/// is there now.
pub fn install(directory: &Path, rail: &Path) -> io::Result<bool> {
    let dot_git = directory.join(".git");
    let hooks = if dot_git.is_dir() {
        dot_git
    } else {
        directory.to_owned()
    }
    .join("hooks");
    let hook = hooks.join("pre-receive");
    let quoted = rail.display().to_string().replace('\'', "'\\''");
    let text = format!("#!/bin/sh\n{MARK}\nexec '{quoted}' {VERB}\n");
    match fs::read_to_string(&hook) {
        Ok(old) if old == text => return Ok(true),
        Ok(old) if !old.contains(MARK) => return Ok(false),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(&hooks)?;
    let new = hooks.join("pre-receive.new");
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &hook)?;
    Ok(true)
}

/// Checks what a push brings, one `<old> <new> <ref>` a line, in the repository Git names in the environment; the
/// objects are still in quarantine. The faults, each with its ref.
pub fn check(
    directory: &Path,
    quarantine: Option<PathBuf>,
    moves: impl BufRead,
) -> Result<Vec<(String, Fault)>, StoreError> {
    let options = GitOptions {
        objects: quarantine.into_iter().collect(),
        tidy: false,
        ..GitOptions::default()
    };
    let desired = Desired::over(Arc::new(GitBackend::open(directory, options)?))?;
    let mut faults = Vec::new();
    for line in moves.lines() {
        let line =
            line.map_err(|error| StoreError::io("read", Path::new("standard input"), error))?;
        let mut words = line.split(' ').skip(1);
        let (new, name) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let main = name.strip_prefix("refs/heads/") == Some(BranchName::main().as_str());
        let new: Option<ObjectId> = new.parse().ok();
        // A deletion is refused by the repository's own settings.
        let Some(new) = new.filter(|new| main && *new != ObjectId::new([0; 20])) else {
            continue;
        };
        if let Err(fault) = desired.pool(&new)? {
            faults.push((name.to_owned(), fault));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_is_ours_or_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let hook = directory.path().join("hooks/pre-receive");
        let rail = Path::new("/opt/it's/rail");
        assert!(install(directory.path(), rail).unwrap());
        let text = fs::read_to_string(&hook).unwrap();
        assert!(
            text.ends_with("exec '/opt/it'\\''s/rail' check-push\n"),
            "{text}"
        );
        assert_eq!(
            fs::metadata(&hook).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert!(install(directory.path(), Path::new("/usr/bin/rail")).unwrap());
        assert!(fs::read_to_string(&hook).unwrap().contains("/usr/bin/rail"));
        fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
        assert!(!install(directory.path(), rail).unwrap());
        assert_eq!(fs::read_to_string(&hook).unwrap(), "#!/bin/sh\nexit 0\n");
    }
}
