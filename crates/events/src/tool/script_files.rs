//! `ctdb-event script ...`: looks at and changes script directories itself, without the daemon.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use ctdb_conf::Paths;
use libc::{EINVAL, EIO, ENOENT};

use crate::scripts::{self, Script, errno};

/// Shipped scripts, those linked to marked with a star; then, behind an empty line, the others that are there, marked if executable.
pub(super) fn list(paths: &Paths, component: &str, out: &mut String) -> i32 {
    let shipped_dir = paths.shipped_event_scripts(component);
    let shipped_dir = match fs::canonicalize(&shipped_dir) {
        Ok(dir) => dir,
        Err(error) => {
            log::error!(
                "the directory of shipped event scripts, {}: {error}",
                shipped_dir.display()
            );
            return errno(&error);
        }
    };
    let lists = scripts::list(&shipped_dir).and_then(|shipped| {
        let present = scripts::list(&paths.event_scripts(component))?;
        Ok((shipped, present))
    });
    match lists {
        Ok((shipped, present)) => {
            out.push_str(&show(&shipped, &present));
            0
        }
        Err(error) => {
            log::error!("listing the event scripts of {component}: {error}");
            errno(&error)
        }
    }
}

fn show(shipped: &[Script], present: &[Script]) -> String {
    let links_to = |script: &Script, target: &Script| {
        script.name == target.name && fs::read_link(&script.path).is_ok_and(|link| link == target.path)
    };
    let mut out = String::new();
    for script in shipped {
        let enabled = present.iter().any(|link| links_to(link, script));
        out.push_str(&format!("{} {}\n", mark(enabled), script.name));
    }
    let local: Vec<&Script> = present
        .iter()
        .filter(|script| !shipped.iter().any(|target| links_to(script, target)))
        .collect();
    if !shipped.is_empty() && !local.is_empty() {
        out.push('\n');
    }
    for script in local {
        out.push_str(&format!("{} {}\n", mark(script.enabled), script.name));
    }
    out
}

fn mark(enabled: bool) -> char {
    if enabled { '*' } else { ' ' }
}

/// Links to a shipped script, or makes a script of one's own executable.
pub(super) fn enable(paths: &Paths, component: &str, name: &str, out: &mut String) -> i32 {
    let Some((at, kind)) = entry(paths, component, name) else {
        return invalid(component, name, out);
    };
    match kind {
        Ok(kind) if kind.is_symlink() => 0,
        Ok(kind) if kind.is_file() => change_mode(paths, component, name, true, out),
        Ok(_) => no_script(&at, out),
        Err(error) if error.kind() == ErrorKind::NotFound => link(paths, component, name, &at, out),
        Err(_) => {
            out.push_str(&format!("Script {} does not exist\n", at.display()));
            EINVAL
        }
    }
}

/// Removes the link, or makes a script of one's own not executable. A script that is not there is disabled.
pub(super) fn disable(paths: &Paths, component: &str, name: &str, out: &mut String) -> i32 {
    let Some((at, kind)) = entry(paths, component, name) else {
        return invalid(component, name, out);
    };
    match kind {
        Ok(kind) if kind.is_symlink() => match fs::remove_file(&at) {
            Ok(()) => 0,
            Err(_) => {
                out.push_str(&format!("Failed to remove symlink {}\n", at.display()));
                EIO
            }
        },
        Ok(kind) if kind.is_file() => change_mode(paths, component, name, false, out),
        Ok(_) => no_script(&at, out),
        Err(_) => 0,
    }
}

type EntryKind = io::Result<fs::FileType>;

/// Where the script is or would be; `None` for a name that leads out of the directory.
fn entry(paths: &Paths, component: &str, name: &str) -> Option<(PathBuf, EntryKind)> {
    if !scripts::is_plain_name(name) || !scripts::is_plain_name(component) {
        return None;
    }
    let at = paths.event_scripts(component).join(format!("{name}.script"));
    let kind = fs::symlink_metadata(&at).map(|meta| meta.file_type());
    Some((at, kind))
}

fn link(paths: &Paths, component: &str, name: &str, at: &PathBuf, out: &mut String) -> i32 {
    let shipped = paths
        .shipped_event_scripts(component)
        .join(format!("{name}.script"));
    let target = match fs::canonicalize(&shipped) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            out.push_str(&format!("Script {name} does not exist in {component}\n"));
            return ENOENT;
        }
        Err(error) => return errno(&error),
    };
    match symlink(target, at) {
        Ok(()) => 0,
        Err(_) => {
            out.push_str(&format!("Failed to create symlink {}\n", at.display()));
            EIO
        }
    }
}

fn change_mode(paths: &Paths, component: &str, name: &str, enable: bool, out: &mut String) -> i32 {
    match scripts::set_executable(&paths.event_scripts(component), name, enable) {
        Ok(()) => 0,
        Err(EINVAL) => invalid(component, name, out),
        Err(ENOENT) => {
            out.push_str(&format!("Script {name} does not exist in {component}\n"));
            ENOENT
        }
        Err(other) => other,
    }
}

fn invalid(component: &str, name: &str, out: &mut String) -> i32 {
    out.push_str(&format!("Script {name} is invalid in {component}\n"));
    EINVAL
}

fn no_script(at: &std::path::Path, out: &mut String) -> i32 {
    out.push_str(&format!("Script {} is not a file or a link\n", at.display()));
    EINVAL
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn node() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_base(dir.path());
        for at in [
            paths.event_scripts("legacy"),
            paths.shipped_event_scripts("legacy"),
        ] {
            fs::create_dir_all(at).unwrap();
        }
        for name in ["01.a", "10.z"] {
            write(
                &paths
                    .shipped_event_scripts("legacy")
                    .join(format!("{name}.script")),
                0o755,
            );
        }
        (dir, paths)
    }

    fn write(at: &std::path::Path, mode: u32) {
        fs::write(at, "#!/bin/sh\n").unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn listed(paths: &Paths) -> String {
        let shipped = fs::canonicalize(paths.shipped_event_scripts("legacy")).unwrap();
        show(
            &scripts::list(&shipped).unwrap(),
            &scripts::list(&paths.event_scripts("legacy")).unwrap(),
        )
    }

    #[test]
    fn shipped_scripts_are_enabled_by_a_link() {
        let (_dir, paths) = node();
        assert_eq!(listed(&paths), "  01.a\n  10.z\n");
        assert_eq!(enable(&paths, "legacy", "10.z", &mut String::new()), 0);
        assert_eq!(enable(&paths, "legacy", "10.z", &mut String::new()), 0);
        assert_eq!(listed(&paths), "  01.a\n* 10.z\n");
        assert_eq!(disable(&paths, "legacy", "10.z", &mut String::new()), 0);
        assert_eq!(disable(&paths, "legacy", "10.z", &mut String::new()), 0);
        assert_eq!(listed(&paths), "  01.a\n  10.z\n");
    }

    #[test]
    fn local_scripts_are_listed_apart_and_enabled_by_their_mode() {
        let (_dir, paths) = node();
        write(&paths.event_scripts("legacy").join("01.a.script"), 0o644);
        assert_eq!(listed(&paths), "  01.a\n  10.z\n\n  01.a\n");
        assert_eq!(enable(&paths, "legacy", "01.a", &mut String::new()), 0);
        assert_eq!(listed(&paths), "  01.a\n  10.z\n\n* 01.a\n");
        assert_eq!(disable(&paths, "legacy", "01.a", &mut String::new()), 0);
        assert_eq!(listed(&paths), "  01.a\n  10.z\n\n  01.a\n");
    }

    #[test]
    fn what_is_no_script_is_refused() {
        let (_dir, paths) = node();
        assert_eq!(enable(&paths, "legacy", "50.nosuch", &mut String::new()), ENOENT);
        assert_eq!(
            enable(
                &paths,
                "legacy",
                "../../share/events/legacy/01.a",
                &mut String::new()
            ),
            EINVAL
        );
        write(&paths.event_scripts("legacy").join("xx.script"), 0o644);
        assert_eq!(enable(&paths, "legacy", "xx", &mut String::new()), EINVAL);
        fs::create_dir(paths.event_scripts("legacy").join("20.d.script")).unwrap();
        assert_eq!(enable(&paths, "legacy", "20.d", &mut String::new()), EINVAL);
        assert_eq!(disable(&paths, "legacy", "20.d", &mut String::new()), EINVAL);
        assert_eq!(list(&paths, "nosuch", &mut String::new()), ENOENT);
    }
}
