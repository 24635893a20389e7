//! Events: from a request through the queue and the scripts to the answer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ctdb_conf::Paths;
use ctdb_runtime::sync::{OneshotSender, oneshot};
use ctdb_runtime::{Handle, Instant, Task};
use libc::{EBUSY, ECANCELED, EINVAL, ENOTDIR};

use crate::output::Output;
use crate::proto::{FLAG_RUN_ALL, Reply, Request, Run, Status};
use crate::queue::{Action, Queue, Refusal, Ticket};
use crate::script_run::{self, Groups, Job, Process};
use crate::scripts::{self, errno};
use crate::walk::{Outcome, Walk, run_result};

/// The event whose place anybody may take.
const MONITOR: &str = "monitor";
/// The debug script must be through with a hung script by then.
const DEBUG_TIME_MAX: Duration = Duration::from_secs(120);

/// All components and what runs in them.
pub(super) struct Events {
    handle: Handle,
    paths: Paths,
    groups: Groups,
    components: RefCell<BTreeMap<String, Component>>,
    ticket_last: Cell<u64>,
    debug_script: RefCell<Option<PathBuf>>,
    debug_running: Cell<bool>,
}

/// One directory of scripts.
#[derive(Default)]
struct Component {
    queue: Queue,
    /// Requests that are not answered yet.
    asked: BTreeMap<Ticket, Asked>,
    /// Tasks of running events; dropping one kills its script.
    running: BTreeMap<Ticket, Task<()>>,
    /// How each event ended last time.
    ended: BTreeMap<String, Status>,
}

/// A request to run an event.
struct Asked {
    event: Rc<Event>,
    answer: OneshotSender<i32>,
}

struct Event {
    component: String,
    name: String,
    args: Vec<String>,
    deadline: Instant,
    run_all: bool,
}

impl Events {
    pub fn new(handle: Handle, paths: Paths, debug_script: Option<PathBuf>) -> Rc<Events> {
        Rc::new(Events {
            handle,
            paths,
            groups: Groups::default(),
            components: RefCell::default(),
            ticket_last: Cell::new(0),
            debug_script: RefCell::new(debug_script),
            debug_running: Cell::new(false),
        })
    }

    /// What is run for scripts that hang from now on.
    pub fn set_debug_script(&self, script: Option<PathBuf>) {
        self.debug_script.replace(script);
    }

    /// Kills every script that runs.
    pub fn shut_down(&self) {
        self.groups.kill_all();
    }

    pub async fn answer(self: &Rc<Self>, request: Request) -> Reply {
        let command = request.command();
        match request {
            Request::Run(run) => Reply::result(command, self.run(run).await),
            Request::Status { component, event } => match self.status(component, event) {
                Ok(status) => Reply::status(status),
                Err(errno) => Reply::result(command, errno),
            },
            Request::Script {
                component,
                script,
                enable,
            } => {
                let done = self.set_executable(component, script, enable);
                Reply::result(command, done.err().unwrap_or(0))
            }
        }
    }

    fn status(&self, component: Option<String>, event: Option<String>) -> Result<Status, i32> {
        let component = self.known_component(component)?;
        let components = self.components.borrow();
        let ended = components
            .get(&component)
            .and_then(|known| known.ended.get(&event?));
        ended.cloned().ok_or(EINVAL)
    }

    fn set_executable(
        &self,
        component: Option<String>,
        script: Option<String>,
        enable: bool,
    ) -> Result<(), i32> {
        let component = self.known_component(component)?;
        scripts::set_executable(
            &self.paths.event_scripts(&component),
            &script.ok_or(EINVAL)?,
            enable,
        )
    }

    /// The name of a component that has a directory.
    fn known_component(&self, name: Option<String>) -> Result<String, i32> {
        let name = name.filter(|name| scripts::is_plain_name(name)).ok_or(EINVAL)?;
        if self.components.borrow().contains_key(&name) {
            return Ok(name);
        }
        let meta = std::fs::metadata(self.paths.event_scripts(&name)).map_err(|error| errno(&error))?;
        if meta.is_dir() { Ok(name) } else { Err(ENOTDIR) }
    }

    async fn run(self: &Rc<Self>, run: Run) -> i32 {
        let (component, name) = match (self.known_component(run.component), run.event) {
            (Ok(component), Some(name)) => (component, name),
            (Err(errno), _) => return errno,
            (Ok(_), None) => return EINVAL,
        };
        let args = run.args.unwrap_or_default();
        let event = Rc::new(Event {
            component,
            name,
            args: args
                .split(' ')
                .filter(|arg| !arg.is_empty())
                .map(str::to_owned)
                .collect(),
            deadline: self.handle.now() + Duration::from_secs(run.timeout_secs.into()),
            run_all: run.flags & FLAG_RUN_ALL != 0,
        });
        let (answer, answered) = oneshot();
        self.submit(event, answer);
        // Only a daemon that shuts down drops a request.
        answered.await.unwrap_or(ECANCELED)
    }

    fn submit(self: &Rc<Self>, event: Rc<Event>, answer: OneshotSender<i32>) {
        let ticket = Ticket(self.ticket_last.get() + 1);
        self.ticket_last.set(ticket.0);
        let mut todo = Vec::new();
        let mut components = self.components.borrow_mut();
        let component = components.entry(event.component.clone()).or_default();
        component.queue.submit(ticket, event.name == MONITOR, &mut todo);
        let name = event.component.clone();
        component.asked.insert(ticket, Asked { event, answer });
        self.carry_out(&name, component, todo);
    }

    fn carry_out(self: &Rc<Self>, name: &str, component: &mut Component, todo: Vec<Action>) {
        for action in todo {
            match action {
                Action::Start(ticket) => {
                    let asked = component
                        .asked
                        .get(&ticket)
                        .expect("the queue starts what was asked for");
                    let task = self
                        .handle
                        .spawn(self.clone().run_event(ticket, asked.event.clone()));
                    component.running.insert(ticket, task);
                }
                Action::Cancel(ticket) => {
                    log::debug!("event {MONITOR} of {name} is cancelled: another event is to run");
                    component.running.remove(&ticket);
                    component.answer(ticket, ECANCELED);
                }
                Action::Refuse(ticket, Refusal::Busy) => component.answer(ticket, ECANCELED),
                Action::Refuse(ticket, Refusal::Full) => {
                    log::warn!("too many events of {name} wait already; one more is refused");
                    component.answer(ticket, EBUSY);
                }
            }
        }
    }

    /// One event, from its turn to its answer.
    async fn run_event(self: Rc<Self>, ticket: Ticket, event: Rc<Event>) {
        let result = match scripts::list(&self.paths.event_scripts(&event.component)) {
            Ok(list) => {
                let walk = self
                    .run_scripts(
                        &event,
                        Walk::new(list.into_iter().map(|s| s.name).collect(), event.run_all),
                    )
                    .await;
                self.remember(&event, walk)
            }
            Err(error) => {
                log::error!(
                    "event {} of {}: listing the scripts: {error}",
                    event.name,
                    event.component
                );
                errno(&error)
            }
        };
        let mut todo = Vec::new();
        let mut components = self.components.borrow_mut();
        let component = components.entry(event.component.clone()).or_default();
        // The handle of this very task: it is at its end.
        let this_task = component.running.remove(&ticket);
        component.answer(ticket, result);
        component.queue.ended(ticket, &mut todo);
        self.carry_out(&event.component, component, todo);
        drop(components);
        drop(this_task);
    }

    async fn run_scripts(self: &Rc<Self>, event: &Rc<Event>, mut walk: Walk) -> Walk {
        let dir = self.paths.event_scripts(&event.component);
        let mut args: Vec<&str> = vec![&event.name];
        args.extend(event.args.iter().map(String::as_str));
        while let Some(name) = walk.next() {
            let name = name.to_owned();
            let path = dir.join(format!("{name}.script"));
            let run = self.run_script(&path, &name, &args, event.deadline).await;
            log_output(&name, run.output.as_deref());
            let result = walk.ended(run.begin, run.end, run.outcome, run.output);
            if walk.next().is_none() && result != 0 && result != -libc::ENOEXEC {
                log_failure(event, &name, run.outcome);
            }
            if let Some(process) = run.hung {
                self.handle
                    .spawn(self.clone().look_after_hung(process, event.clone()))
                    .detach();
            }
        }
        walk
    }

    async fn run_script(
        &self,
        path: &Path,
        name: &str,
        args: &[&str],
        deadline: Instant,
    ) -> script_run::ScriptRun {
        if !scripts::is_executable(path) {
            let now = self.handle.wall_clock();
            let outcome = Outcome::NotStarted(libc::EACCES);
            return script_run::ScriptRun {
                begin: now,
                end: now,
                outcome,
                output: None,
                hung: None,
            };
        }
        log::trace!("running {} {}", path.display(), args.join(" "));
        script_run::run(
            &self.handle,
            &self.groups,
            &Job {
                path,
                name,
                args,
                deadline,
            },
        )
        .await
    }

    fn remember(&self, event: &Event, walk: Walk) -> i32 {
        let mut components = self.components.borrow_mut();
        let ended = &mut components.entry(event.component.clone()).or_default().ended;
        let status = walk.finish();
        let summary = status.summary;
        ended.insert(event.name.clone(), status);
        run_result(summary)
    }

    /// A script that outlived its event: the debug script looks at it (one at a time), then it is asked to end.
    /// Without a debug script it is left alone, for whoever wants to look at it.
    async fn look_after_hung(self: Rc<Self>, mut process: Process, event: Rc<Event>) {
        let debug_script = self.debug_script.borrow().clone();
        if let Some(script) = debug_script
            && !self.debug_running.replace(true)
        {
            let pid = process.pid().to_string();
            let name = script.display().to_string();
            let deadline = self.handle.now() + DEBUG_TIME_MAX;
            let job = Job {
                path: &script,
                name: &name,
                args: &[&pid, &event.name],
                deadline,
            };
            let run = script_run::run(&self.handle, &self.groups, &job).await;
            self.debug_running.set(false);
            log_output("event_debug", run.output.as_deref());
            match run.outcome {
                Outcome::Ended(_) => {}
                Outcome::NotStarted(errno) => {
                    let error = std::io::Error::from_raw_os_error(errno);
                    log::error!("the debug script {name} could not be started: {error}");
                }
                Outcome::TimedOut => log::error!("the debug script {name} hangs itself; it is killed"),
            }
            process.terminate();
        } else {
            log::info!(
                "the script with process id {} is left running: nothing looks at it",
                process.pid()
            );
        }
        process.wait(&self.handle, &mut Output::default()).await;
    }
}

impl Component {
    fn answer(&mut self, ticket: Ticket, result: i32) {
        if let Some(asked) = self.asked.remove(&ticket) {
            // Whoever asked may have gone; the event counts all the same.
            let _ = asked.answer.send(result);
        }
    }
}

fn log_output(name: &str, output: Option<&[u8]>) {
    for line in output
        .unwrap_or_default()
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
    {
        log::error!("{name}: {}", String::from_utf8_lossy(line));
    }
}

fn log_failure(event: &Event, script: &str, outcome: Outcome) {
    let Event { name, component, .. } = event;
    match outcome {
        Outcome::TimedOut => log::info!("event {name} of {component}: its time was over in {script}"),
        Outcome::Ended(status) => log::info!("event {name} of {component} failed in {script}: {status}"),
        Outcome::NotStarted(errno) => {
            let error = std::io::Error::from_raw_os_error(errno);
            log::info!("event {name} of {component} failed: {script} could not be started: {error}");
        }
    }
}
