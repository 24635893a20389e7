//! What a round asks: one batch of controls to the own daemon, one to the others. All answers of a batch are awaited side by
//! side, so that a round takes two round trips whatever the size of the cluster.

use std::collections::BTreeMap;
use std::rc::Rc;

use ctdb_client::{ClientError, ControlAnswer};
use ctdb_cluster::Node;
use ctdb_cluster::checks::Unanswered;
use ctdb_conf::Tunables;
use ctdb_protocol::{Pnn, RecMode, Reply, Request, VnnMap};
use ctdb_runtime::sync::join2;

use crate::state::{Recoverd, connected};

/// What ctdbd says of itself that is not kept elsewhere.
#[derive(Debug)]
pub struct Local {
    /// GET_RECMODE.
    pub recmode: RecMode,
    /// GETVNNMAP.
    pub vnnmap: VnnMap,
}

/// What the others say.
#[derive(Debug, Default)]
pub struct Around {
    /// Node maps of the other connected nodes; empty if this node does not lead, as are the next two.
    pub node_maps: BTreeMap<Pnn, Vec<Node>>,
    /// Recovery modes of all active nodes.
    pub recmodes: BTreeMap<Pnn, RecMode>,
    /// vnnmaps of the other active nodes.
    pub vnnmaps: BTreeMap<Pnn, VnnMap>,
    /// The first node that did not tell what it can do.
    pub silent: Option<Unanswered>,
}

type Answers = Vec<(Pnn, Result<ControlAnswer, ClientError>)>;

impl Recoverd {
    /// Steps 5 to 8, 10 and 18 in one. The log level, the tunables and the nodes are taken over at once.
    ///
    /// # Errors
    /// ctdbd does not answer.
    pub async fn look_locally(self: &Rc<Self>) -> Result<Local, ClientError> {
        let _one_at_a_time = self.looking.acquire().await;
        let (ctdbd, me, timeout) = (&self.client, Pnn::CURRENT, self.timeout());
        let settings = join2(ctdbd.get_debug(me, timeout), ctdbd.get_all_tunables(me, timeout));
        let abilities = join2(
            ctdbd.get_runstate(me, timeout),
            ctdbd.get_capabilities(me, timeout),
        );
        let cluster = join2(ctdbd.get_nodemap(me, timeout), ctdbd.get_vnnmap(me, timeout));
        let state = join2(ctdbd.get_recmode(me, timeout), abilities);
        let ((level, tunables), ((nodes, vnnmap), (recmode, (runstate, capabilities)))) =
            join2(settings, join2(cluster, state)).await;

        ctdb_logging::set_level(level?.0); // 5
        *self.tunables.borrow_mut() = Tunables::from_list(&*tunables?); // 6
        log::trace!("ctdbd is {}", runstate?); // 7
        self.capabilities.borrow_mut().insert(self.me(), capabilities?);
        self.take_nodes(&nodes?); // 8
        Ok(Local {
            recmode: recmode?,
            vnnmap: vnnmap?,
        }) // 10, 18
    }

    /// Steps 12, 15, 20 and 26 in one; for who does not lead, 12 alone.
    pub async fn look_around(self: &Rc<Self>, leading: bool) -> Around {
        let nodes = self.nodes.borrow().clone();
        let all = connected(&nodes);
        let others = without(self.me(), &all);
        let active: Vec<Pnn> = nodes
            .iter()
            .filter(|node| node.flags.is_active())
            .map(|node| node.pnn)
            .collect();
        let other_active = without(self.me(), &active);

        let capabilities = self.ask(&others, Request::GetCapabilities);
        if !leading {
            let silent = self.take_capabilities(capabilities.await);
            return Around {
                silent,
                ..Around::default()
            };
        }
        let ((capabilities, maps), (modes, vnnmaps)) = join2(
            join2(capabilities, self.ask(&others, Request::GetNodemap)),
            join2(
                self.ask(&active, Request::GetRecmode),
                self.ask(&other_active, Request::GetVnnmap),
            ),
        )
        .await;
        Around {
            silent: self.take_capabilities(capabilities),
            node_maps: each(maps, |answer| match answer.reply().ok()? {
                Reply::GetNodemap(map) => Some(Node::list(&map)),
                _ => None,
            }),
            recmodes: each(modes, |answer| {
                RecMode::try_from(answer.status.cast_unsigned()).ok()
            }),
            vnnmaps: each(vnnmaps, |answer| match answer.reply().ok()? {
                Reply::GetVnnmap(map) => Some(map),
                _ => None,
            }),
        }
    }

    async fn ask(&self, nodes: &[Pnn], request: Request<'static>) -> Answers {
        self.client.control_all(nodes, &request, self.timeout()).await
    }

    /// Capabilities of nodes that don't answer stay as they were: they change rarely, and the round ends anyway.
    fn take_capabilities(self: &Rc<Self>, answers: Answers) -> Option<Unanswered> {
        let asked: Vec<Pnn> = answers.iter().map(|(node, _)| *node).collect();
        let told = each(answers, |answer| match answer.reply().ok()? {
            Reply::GetCapabilities(capabilities) => Some(capabilities),
            _ => None,
        });
        let silent = asked.into_iter().find(|node| !told.contains_key(node));
        let news = told
            .iter()
            .any(|(node, now)| self.capabilities.borrow().get(node) != Some(now));
        self.capabilities.borrow_mut().extend(told);
        if news {
            self.tell_election();
        }
        silent.map(|node| Unanswered {
            node,
            question: "GET_CAPABILITIES",
            blame: false,
        })
    }
}

fn without(me: Pnn, nodes: &[Pnn]) -> Vec<Pnn> {
    nodes.iter().copied().filter(|&node| node != me).collect()
}

/// The answers that make sense, by node; the others are logged.
fn each<T>(answers: Answers, typed: impl Fn(&ControlAnswer) -> Option<T>) -> BTreeMap<Pnn, T> {
    let mut found = BTreeMap::new();
    for (node, answer) in answers {
        match answer {
            Ok(answer) => match typed(&answer) {
                Some(value) => {
                    found.insert(node, value);
                }
                None => log::error!("Node {node}: the answer to {} makes no sense", answer.opcode),
            },
            Err(error) => log::info!("{error}"),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::Opcode;

    #[test]
    fn only_answers_that_make_sense_count() {
        let answer = |node, status| ControlAnswer {
            node: Pnn(node),
            opcode: Opcode::GET_RECMODE,
            status,
            data: vec![],
            text: String::new(),
        };
        let refused = ClientError::InvalidUse("no");
        let answers = vec![
            (Pnn(0), Ok(answer(0, 1))),
            (Pnn(1), Ok(answer(1, 9))),
            (Pnn(2), Err(refused)),
        ];
        let modes = each(answers, |answer| {
            RecMode::try_from(answer.status.cast_unsigned()).ok()
        });
        assert_eq!(modes, [(Pnn(0), RecMode::Active)].into());
    }
}
