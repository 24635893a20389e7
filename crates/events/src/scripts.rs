//! Directories of event scripts.
//!
//! A script is a file or symbolic link named `NN.name.script`, two digits in front; its name is that without `.script`.
//! Shipped scripts are enabled by a link to them; an administrator's own are plain files, enabled by being executable.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libc::{EINVAL, ENOENT};

const SUFFIX: &str = ".script";

/// One script of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Without `.script`.
    pub name: String,
    /// In the directory that was listed.
    pub path: PathBuf,
    /// Executable by its owner.
    pub enabled: bool,
}

/// The scripts of a directory, sorted by name.
///
/// # Errors
/// Of reading the directory: NotFound when there is no such component.
pub fn list(dir: &Path) -> io::Result<Vec<Script>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(script_name)
        else {
            continue;
        };
        let enabled = is_executable(&path);
        scripts.push(Script {
            name: name.to_owned(),
            path: path.clone(),
            enabled,
        });
    }
    // By the whole file name, as upstream sorts.
    scripts.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
    Ok(scripts)
}

/// Whether its owner can execute it. A link to nothing, or a file that has just gone, cannot be.
pub fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o100 != 0)
}

/// The name of a script by its file's name, if that follows the form.
fn script_name(file: &str) -> Option<&str> {
    let name = file.strip_suffix(SUFFIX)?;
    match name.as_bytes() {
        [a, b, b'.', ..] if a.is_ascii_digit() && b.is_ascii_digit() => Some(name),
        _ => None,
    }
}

/// Whether a name from outside names an entry of a directory and nothing else.
pub fn is_plain_name(name: &str) -> bool {
    !name.contains('/') && name != "." && name != ".."
}

/// Makes a plain file executable or not. `name` may end in `.script`.
///
/// # Errors
/// An errno: ENOENT without such a file, EINVAL if its name does not follow the form or it is a link, others as the system says.
pub fn set_executable(dir: &Path, name: &str, enable: bool) -> Result<(), i32> {
    let file = if name.ends_with(SUFFIX) && name != SUFFIX {
        name.to_owned()
    } else {
        format!("{name}{SUFFIX}")
    };
    if !is_plain_name(&file) {
        return Err(EINVAL);
    }
    let path = dir.join(&file);
    let entry = fs::symlink_metadata(&path).map_err(|error| errno(&error))?;
    if script_name(&file).is_none() {
        return Err(EINVAL);
    }
    // Opened for reading and writing, as upstream does: whoever may not write it may not enable it.
    // Without following a link that somebody puts there meanwhile.
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path);
    let file = match opened {
        Err(_) if entry.file_type().is_symlink() => return Err(EINVAL),
        opened => opened.map_err(|error| errno(&error))?,
    };
    let meta = file.metadata().map_err(|error| errno(&error))?;
    if meta.ino() != entry.ino() {
        return Err(EINVAL);
    }
    let mode = meta.permissions().mode();
    let mode = if enable { mode | 0o111 } else { mode & !0o111 };
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(|error| errno(&error))
}

/// The errno of an error; ENOENT stands for those that have none (they come from names with NULs).
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(dir: &Path, file: &str, mode: u32) {
        fs::write(dir.join(file), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.join(file), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn scripts_are_listed_by_name_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        script(dir.path(), "10.b.script", 0o755);
        script(dir.path(), "01.a.script", 0o644);
        for other in [
            "README",
            "1.x.script",
            "ab.x.script",
            "01.x.scrip",
            "01.x.options",
            "01x.script",
        ] {
            script(dir.path(), other, 0o755);
        }
        std::os::unix::fs::symlink("/nonexistent", dir.path().join("20.c.script")).unwrap();
        std::os::unix::fs::symlink("10.b.script", dir.path().join("05.d.script")).unwrap();
        let found: Vec<(String, bool)> = list(dir.path())
            .unwrap()
            .into_iter()
            .map(|script| (script.name, script.enabled))
            .collect();
        let expected = [("01.a", false), ("05.d", true), ("10.b", true), ("20.c", false)];
        assert_eq!(found, expected.map(|(name, enabled)| (name.to_owned(), enabled)));
    }

    #[test]
    fn a_plain_file_is_enabled_and_disabled() {
        let dir = tempfile::tempdir().unwrap();
        script(dir.path(), "01.a.script", 0o644);
        let mode = || {
            fs::metadata(dir.path().join("01.a.script"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(set_executable(dir.path(), "01.a", true), Ok(()));
        assert_eq!(mode(), 0o755);
        assert_eq!(set_executable(dir.path(), "01.a.script", false), Ok(()));
        assert_eq!(mode(), 0o644);
    }

    #[test]
    fn what_is_no_script_of_the_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        script(dir.path(), "xx.script", 0o644);
        script(dir.path(), "01.a.script", 0o644);
        std::os::unix::fs::symlink("01.a.script", dir.path().join("02.l.script")).unwrap();
        assert_eq!(set_executable(dir.path(), "xx", true), Err(EINVAL));
        assert_eq!(set_executable(dir.path(), "02.l", true), Err(EINVAL));
        assert_eq!(set_executable(dir.path(), "03.n", true), Err(ENOENT));
        assert_eq!(set_executable(dir.path(), "../01.a", true), Err(EINVAL));
        assert_eq!(set_executable(dir.path(), "nul\0", true), Err(ENOENT));
    }
}
