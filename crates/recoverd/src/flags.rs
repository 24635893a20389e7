//! Node flags carried to all nodes, and what a node does that finds itself inactive.

use std::rc::Rc;

use ctdb_client::ClientError;
use ctdb_cluster::Node;
use ctdb_cluster::credits::{Sentence, View};
use ctdb_cluster::flags::FlagFix;
use ctdb_protocol::{BanState, NodeFlagChange, Pnn, RecMode, Request};
use ctdb_runtime::sync::join_all;

use crate::state::{Recoverd, connected};

impl Recoverd {
    /// PUSH_NODE_FLAGS: ctdbd has changed the flags of this node, by its monitoring; all connected nodes hear of it at once.
    pub fn push_flags(self: &Rc<Self>, change: NodeFlagChange) {
        let recoverd = self.clone();
        let push = async move {
            if let Err(error) = recoverd.look_at_nodes().await {
                log::error!("Flags of node {} are not pushed: {error}", change.pnn);
                return;
            }
            recoverd.modify_flags(&[change], &recoverd.connected()).await;
        };
        self.rt.spawn_urgent(push).detach();
    }

    /// MODIFY_FLAGS for each change to each of the nodes, all at once. Returns who failed, with the change; logged here.
    async fn modify_flags(&self, changes: &[NodeFlagChange], to: &[Pnn]) -> Vec<(Pnn, NodeFlagChange)> {
        let timeout = self.timeout();
        let one = |change: NodeFlagChange| async move {
            let answers = self
                .client
                .control_all(to, &Request::ModifyFlags(change), timeout)
                .await;
            answers
                .into_iter()
                .filter_map(move |(node, answer)| Some((node, change, answer.err()?)))
                .collect::<Vec<_>>()
        };
        let failed = join_all(changes.iter().copied().map(one)).await;
        let failed = failed.into_iter().flatten();
        let log = |(node, change, error): (Pnn, NodeFlagChange, ClientError)| {
            log::error!(
                "Node {node} did not take the flags {} of node {}: {error}",
                change.new_flags,
                change.pnn
            );
            (node, change)
        };
        failed.map(log).collect()
    }

    /// Step 16: every connected node hears what the nodes say of themselves; `nodes` is corrected, too. Returns whether all
    /// active nodes took it.
    pub async fn correct_flags(self: &Rc<Self>, nodes: &mut [Node], fixes: &[FlagFix]) -> bool {
        if fixes.is_empty() {
            return true;
        }
        for fix in fixes {
            log::info!(
                "Flags of node {} are {} by its own word; told to all nodes",
                fix.node,
                fix.new
            );
            if let Some(node) = nodes.iter_mut().find(|node| node.pnn == fix.node) {
                node.flags = fix.new;
            }
        }
        let changes: Vec<NodeFlagChange> = fixes
            .iter()
            .map(|fix| NodeFlagChange {
                pnn: fix.node,
                new_flags: fix.new,
                old_flags: fix.old,
            })
            .collect();
        let failed = self.modify_flags(&changes, &connected(nodes)).await;
        failed.is_empty() || {
            // Who has left in the meantime needs no flags.
            let _ = self.look_at_nodes().await;
            let active = |node: &Pnn| self.flags_of(*node).is_some_and(|flags| flags.is_active());
            !failed.iter().any(|(node, _)| active(node))
        }
    }

    /// Step 9: bans every node that has collected enough credits. Returns whether this node is one of them.
    pub async fn ban_misbehaving_nodes(&self) -> bool {
        let sentences = {
            let nodes = self.nodes.borrow();
            self.credits.borrow_mut().judge(&View {
                me: self.me(),
                nodes: &nodes,
            })
        };
        let mut self_ban = false;
        for sentence in sentences {
            match sentence {
                Sentence::Ban { node, credit } => {
                    let why = format!("{} ban credits, the last for: {}", credit.count, credit.evidence);
                    self_ban |= node == self.me();
                    self.ban(node, &why).await;
                }
                Sentence::Spare { node, credit } => log::error!(
                    "Node {node} has {} ban credits, the last for: {}. It is not banned, for nobody else could serve",
                    credit.count,
                    credit.evidence
                ),
            }
        }
        self_ban
    }

    /// SET_BAN_STATE on the node itself; its daemon does nothing with EnableBans off.
    pub async fn ban(&self, node: Pnn, why: &str) {
        let period = self.tunables.borrow().recovery_ban_period();
        log::warn!("Node {node} is banned for {period:?} (RecoveryBanPeriod): {why}");
        self.count("bans");
        let time_s = u32::try_from(period.as_secs()).unwrap_or(u32::MAX);
        let banned = self
            .client
            .set_ban_state(node, BanState { pnn: node, time_s }, self.timeout())
            .await;
        if let Err(error) = banned {
            log::error!("Node {node} is not banned: {error}");
        }
    }

    /// Step 11: a banned or stopped node keeps off the databases. Returns whether this is one.
    ///
    /// # Errors
    /// ctdbd does not do it; tried again in the next round.
    pub async fn freeze_if_inactive(&self, recmode: RecMode) -> Result<bool, ClientError> {
        if self.own_flags().is_active() {
            self.frozen_on_inactive.set(false);
            return Ok(false);
        }
        if recmode == RecMode::Normal {
            log::error!(
                "This node is {}, but not in recovery mode: it is set now",
                self.own_flags()
            );
            self.client
                .set_recmode(Pnn::CURRENT, RecMode::Active, self.timeout())
                .await?;
        }
        if !self.frozen_on_inactive.get() {
            self.client.freeze(Pnn::CURRENT, self.timeout()).await?;
            self.frozen_on_inactive.set(true);
        }
        Ok(true)
    }
}
