//! The directory of a cluster before its first start.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::addresses::LoopbackBlock;
use crate::node::{Daemon, Node};
use crate::{Binaries, Cluster};

/// What decides who may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterLock {
    /// No lock: elections by messages.
    None,
    /// A file in the cluster's directory, held by the node's fcntl helper.
    File,
    /// The setting as it stands, `!program arguments` for instance.
    Setting(String),
}

/// Section, key and value of `ctdb.conf`.
type Setting = (String, String, String);

#[derive(Clone, Debug)]
struct NodePlan {
    binaries: Binaries,
    settings: Vec<Setting>,
    public_addresses: Option<String>,
}

/// Describes a cluster; [`build`](ClusterBuilder::build) writes its files.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    nodes: Vec<NodePlan>,
    lock: ClusterLock,
    settings: Vec<Setting>,
    tunables: Vec<(String, String)>,
    event_scripts: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
    parent_dir: Option<PathBuf>,
}

impl ClusterBuilder {
    pub(crate) fn new() -> ClusterBuilder {
        ClusterBuilder {
            nodes: Vec::new(),
            lock: ClusterLock::File,
            settings: Vec::new(),
            tunables: Vec::new(),
            event_scripts: BTreeMap::new(),
            environment: Vec::new(),
            parent_dir: None,
        }
    }

    /// Adds nodes that run these programs. Call it again for nodes with others.
    #[must_use]
    pub fn nodes(mut self, count: usize, binaries: &Binaries) -> Self {
        let plan = NodePlan {
            binaries: binaries.clone(),
            settings: Vec::new(),
            public_addresses: None,
        };
        self.nodes.extend(std::iter::repeat_n(plan, count));
        self
    }

    /// The cluster lock; a file unless this is called.
    #[must_use]
    pub fn cluster_lock(mut self, lock: ClusterLock) -> Self {
        self.lock = lock;
        self
    }

    /// A line of `ctdb.conf` of all nodes. A later line for the same key wins.
    #[must_use]
    pub fn conf(mut self, section: &str, key: &str, value: &str) -> Self {
        self.settings
            .push((section.to_owned(), key.to_owned(), value.to_owned()));
        self
    }

    /// A line of `ctdb.conf` of one node that was added before.
    ///
    /// # Panics
    /// There is no such node yet.
    #[must_use]
    pub fn node_conf(mut self, pnn: usize, section: &str, key: &str, value: &str) -> Self {
        let settings = &mut self.nodes[pnn].settings;
        settings.push((section.to_owned(), key.to_owned(), value.to_owned()));
        self
    }

    /// A tunable of all nodes from their start on.
    #[must_use]
    pub fn tunable(mut self, name: &str, value: u32) -> Self {
        self.tunables.push((name.to_owned(), value.to_string()));
        self
    }

    /// The `public_addresses` file of one node that was added before; without it a node has none.
    ///
    /// # Panics
    /// There is no such node yet.
    #[must_use]
    pub fn public_addresses(mut self, pnn: usize, lines: &str) -> Self {
        self.nodes[pnn].public_addresses = Some(lines.to_owned());
        self
    }

    /// An executable event script `NN.name.script` of all nodes; without any, events succeed at once.
    #[must_use]
    pub fn event_script(mut self, file_name: &str, text: &str) -> Self {
        self.event_scripts.insert(file_name.to_owned(), text.to_owned());
        self
    }

    /// A variable in the environment of all daemons and tools.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where to make the cluster's directory: a small tmpfs, say. Otherwise in `$TMPDIR`.
    #[must_use]
    pub fn parent_dir(mut self, dir: &Path) -> Self {
        self.parent_dir = Some(dir.to_owned());
        self
    }

    /// Makes the directory with all files. Nothing is started.
    ///
    /// # Errors
    /// No free addresses, or the directory cannot be written.
    pub fn build(self) -> Result<Cluster> {
        let addresses = LoopbackBlock::claim()?;
        let parent = self.parent_dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new()
            .prefix("ctdb-")
            .tempdir_in(&parent)
            .with_context(|| format!("a directory in {}", parent.display()))?;
        // Processes are known by this path, and a daemon may resolve it.
        let root = dir.path().canonicalize()?;
        fs::create_dir(root.join("shared"))?;

        let mut nodes_file = String::new();
        for pnn in 0..self.nodes.len() {
            writeln!(nodes_file, "{}", addresses.node(pnn)?)?;
        }
        let mut nodes = Vec::new();
        for (pnn, plan) in self.nodes.iter().enumerate() {
            let node = Node {
                pnn,
                address: addresses.node(pnn)?,
                base: root.join(format!("node.{pnn}")),
                binaries: plan.binaries.clone(),
                lmaster: self.is_lmaster(plan),
                environment: self.environment.clone(),
                daemon: Mutex::new(Daemon::NotStarted),
            };
            self.write_node(&node, plan, &root, &nodes_file)
                .with_context(|| format!("the files of node {pnn} in {}", node.base.display()))?;
            nodes.push(node);
        }
        Ok(Cluster::new(dir, root, addresses, nodes))
    }

    fn write_node(&self, node: &Node, plan: &NodePlan, root: &Path, nodes_file: &str) -> Result<()> {
        let socket_len = node.socket().as_os_str().len();
        ensure!(
            socket_len < 108,
            "{} is too long for a socket: 107 bytes is the limit; set TMPDIR to a shorter one",
            node.socket().display()
        );
        let base = &node.base;
        for dir in [
            "run",
            "var",
            "share",
            "events/legacy",
            "db/volatile",
            "db/persistent",
            "db/state",
        ] {
            fs::create_dir_all(base.join(dir))?;
        }
        fs::write(base.join("nodes"), nodes_file)?;
        fs::write(base.join("ctdb.conf"), self.conf_text(node, plan, root))?;
        // Without it each change of state is an error in the log.
        write_script(&base.join("notify.sh"), "#!/bin/sh\n")?;
        for (name, text) in &self.event_scripts {
            write_script(&base.join("events/legacy").join(name), text)?;
        }
        if let Some(lines) = &plan.public_addresses {
            fs::write(base.join("public_addresses"), lines)?;
        }
        if !self.tunables.is_empty() {
            let lines = self
                .tunables
                .iter()
                .map(|(name, value)| format!("{name}={value}\n"));
            fs::write(base.join("ctdb.tunables"), lines.collect::<String>())?;
        }
        Ok(())
    }

    fn conf_text(&self, node: &Node, plan: &NodePlan, root: &Path) -> String {
        let database_dir = |kind: &str| {
            let dir = node.base.join("db").join(kind).display().to_string();
            ("database".to_owned(), format!("{kind} database directory"), dir)
        };
        let setting = |section: &str, key: &str, value: String| (section.to_owned(), key.to_owned(), value);
        let mut all = vec![
            setting(
                "logging",
                "location",
                format!("file:{}", node.log_file().display()),
            ),
            setting("logging", "log level", "INFO".to_owned()),
            setting("cluster", "node address", node.address.to_string()),
        ];
        match &self.lock {
            ClusterLock::None => {}
            ClusterLock::File => {
                let file = root.join("shared/cluster.lock").display().to_string();
                all.push(setting("cluster", "cluster lock", file));
            }
            ClusterLock::Setting(text) => all.push(setting("cluster", "cluster lock", text.clone())),
        }
        all.extend(["volatile", "persistent", "state"].map(database_dir));
        all.extend(self.settings.iter().chain(&plan.settings).cloned());

        let mut sections: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for (section, key, value) in &all {
            sections.entry(section).or_default().insert(key, value);
        }
        let mut text = String::new();
        for (section, lines) in sections {
            text += &format!("[{section}]\n");
            for (key, value) in lines {
                text += &format!("\t{key} = {value}\n");
            }
        }
        text
    }

    /// Whether the node is to appear in the vnn map.
    fn is_lmaster(&self, plan: &NodePlan) -> bool {
        let mut all = self.settings.iter().chain(&plan.settings);
        let last = all.rfind(|(section, key, _)| section == "legacy" && key == "lmaster capability");
        last.is_none_or(|(_, _, value)| value != "false")
    }
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell_as_binaries() -> (tempfile::TempDir, Binaries) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ctdbd", "ctdb"] {
            fs::copy("/bin/sh", dir.path().join(name)).unwrap();
        }
        let binaries = Binaries::in_dir("shell", dir.path()).unwrap();
        (dir, binaries)
    }

    #[test]
    fn a_later_setting_wins_and_sections_are_written_once() {
        let (_dir, binaries) = shell_as_binaries();
        let cluster = Cluster::builder()
            .nodes(2, &binaries)
            .cluster_lock(ClusterLock::Setting("!/bin/lock a".to_owned()))
            .conf("legacy", "lmaster capability", "true")
            .conf("logging", "log level", "DEBUG")
            .node_conf(1, "legacy", "lmaster capability", "false")
            .build()
            .unwrap();
        let text = fs::read_to_string(cluster.node(1).base().join("ctdb.conf")).unwrap();
        assert_eq!(text.matches("[logging]").count(), 1);
        assert!(
            text.contains("log level = DEBUG") && !text.contains("INFO"),
            "{text}"
        );
        assert!(text.contains("cluster lock = !/bin/lock a\n"), "{text}");
        assert!(cluster.node(0).lmaster && !cluster.node(1).lmaster);
    }

    #[test]
    fn the_directory_goes_with_the_cluster() {
        let (_dir, binaries) = shell_as_binaries();
        let cluster = Cluster::builder()
            .nodes(1, &binaries)
            .tunable("RecoverTimeout", 5)
            .build()
            .unwrap();
        let base = cluster.node(0).base().to_owned();
        assert_eq!(
            fs::read_to_string(base.join("ctdb.tunables")).unwrap(),
            "RecoverTimeout=5\n"
        );
        drop(cluster);
        assert!(!base.exists());
    }
}
