//! The event daemon as a whole: real scripts, real processes, a real socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ctdb_conf::{Config, Paths};
use ctdb_events::client;
use ctdb_events::proto::{FLAG_RUN_ALL, Run, Status};
use ctdb_events::server::{Options, Stopped, serve};
use ctdb_runtime::{Handle, Runtime};
use libc::{ECANCELED, EINVAL, ENOENT, ENOEXEC, ETIMEDOUT};

const LONG_SECS: u32 = 30;

/// A node's directories with one component, `legacy`.
struct Node {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl Node {
    fn new(scripts: &[(&str, &str)]) -> Node {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let paths = Paths::in_base(dir.path());
        for at in [paths.event_scripts("legacy"), paths.socket_dir.clone()] {
            fs::create_dir_all(at).expect("directories in the temporary one");
        }
        let node = Node { dir, paths };
        for (name, body) in scripts {
            node.program(&format!("events/legacy/{name}.script"), body);
        }
        node
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A shell script; `$BASE` in it is the node's directory.
    fn program(&self, name: &str, body: &str) {
        let base = self.dir.path().display();
        fs::write(self.file(name), format!("#!/bin/sh\nBASE={base}\n{body}\n")).expect("a file of the node");
        fs::set_permissions(self.file(name), fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    /// Runs the daemon as a task, and `test` beside it.
    fn serve<T>(&self, test: impl AsyncFnOnce(Client) -> T) -> T {
        let runtime = Runtime::new().expect("an event loop");
        let handle = runtime.handle();
        let client = Client {
            handle: handle.clone(),
            paths: self.paths.clone(),
        };
        runtime.block_on(async move {
            let config = Config::load(&client.paths).expect("the node's configuration");
            let (ours, its) = handle.stream_pair().expect("a socket pair");
            let (daemon_handle, paths) = (handle.clone(), client.paths.clone());
            let options = Options {
                pid: None,
                startup: Some(its),
            };
            let _daemon = handle.spawn(async move { serve(&daemon_handle, &paths, config, options).await });
            let mut ready = [1; 4];
            ours.read_exact(&mut ready)
                .await
                .expect("the daemon says that it is ready");
            assert_eq!(ready, [0; 4]);
            test(client).await
        })
    }
}

#[derive(Clone)]
struct Client {
    handle: Handle,
    paths: Paths,
}

impl Client {
    async fn request(&self, event: &str, args: Option<&str>, timeout_secs: u32, flags: u32) -> i32 {
        let run = Run {
            component: Some("legacy".into()),
            event: Some(event.into()),
            args: args.map(str::to_owned),
            timeout_secs,
            flags,
        };
        client::run(&self.handle, &self.paths.socket("eventd"), run)
            .await
            .expect("an answer")
    }

    async fn run(&self, event: &str) -> i32 {
        self.request(event, None, LONG_SECS, 0).await
    }

    async fn status(&self, event: &str) -> Result<Status, i32> {
        client::status(&self.handle, &self.paths.socket("eventd"), "legacy", event)
            .await
            .expect("an answer")
    }

    async fn results(&self, event: &str) -> Vec<(String, i32)> {
        let status = self.status(event).await.expect("the event has run");
        status
            .scripts
            .into_iter()
            .map(|script| (script.name, script.result))
            .collect()
    }

    /// Waits until a file of the node has this text.
    async fn until_file_is(&self, path: PathBuf, text: &str) {
        let seen = async {
            while fs::read_to_string(&path).unwrap_or_default() != text {
                self.handle.sleep(Duration::from_millis(5)).await;
            }
        };
        self.handle
            .timeout(Duration::from_secs(20), seen)
            .await
            .unwrap_or_else(|_| {
                panic!(
                    "{} is {:?}, not {text:?}",
                    path.display(),
                    fs::read_to_string(&path)
                );
            });
    }
}

fn named(results: &[(&str, i32)]) -> Vec<(String, i32)> {
    results
        .iter()
        .map(|(name, result)| ((*name).to_owned(), *result))
        .collect()
}

#[test]
fn scripts_run_in_order_with_the_event_and_its_arguments() {
    let node = Node::new(&[
        ("10.b", "echo b >> $BASE/seen"),
        (
            "01.a",
            "echo \"$0|$1|$2|$3|$#\" | sed 's,.*/,,' >> $BASE/seen; echo said",
        ),
    ]);
    node.serve(async |client| {
        assert_eq!(
            client
                .request("takeip", Some("eth0  10.0.0.1 24"), LONG_SECS, 0)
                .await,
            0
        );
        let seen = fs::read_to_string(node.file("seen")).unwrap();
        assert_eq!(seen, "01.a.script|takeip|eth0|10.0.0.1|4\nb\n");
        let status = client.status("takeip").await.unwrap();
        assert_eq!(status.summary, 0);
        assert_eq!(status.scripts[0].output.as_deref(), Some(&b"said\n"[..]));
        assert_eq!(status.scripts[1].output, None);
        assert!(status.scripts[0].begin <= status.scripts[0].end);
        assert_eq!(client.status("never").await, Err(EINVAL));
    });
}

#[test]
fn the_first_failure_ends_the_event_unless_all_are_to_run() {
    let node = Node::new(&[("01.a", "exit 0"), ("02.b", "exit 3"), ("03.c", "kill -9 $$")]);
    node.serve(async |client| {
        assert_eq!(client.run("e").await, ENOEXEC);
        assert_eq!(client.results("e").await, named(&[("01.a", 0), ("02.b", 3)]));
        assert_eq!(client.request("e", None, LONG_SECS, FLAG_RUN_ALL).await, ENOEXEC);
        assert_eq!(
            client.results("e").await,
            named(&[("01.a", 0), ("02.b", 3), ("03.c", -libc::EINTR)])
        );
    });
}

#[test]
fn scripts_that_cannot_run_are_passed_over_as_disabled() {
    let node = Node::new(&[
        ("01.off", ""),
        ("02.noshebang", ""),
        ("03.gone", ""),
        ("05.ok", "rm $BASE/events/legacy/06.del.script"),
        ("06.del", ""),
    ]);
    let at = |name: &str| node.file(&format!("events/legacy/{name}.script"));
    fs::set_permissions(at("01.off"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(at("02.noshebang"), "echo no\n").unwrap();
    fs::remove_file(at("03.gone")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", at("03.gone")).unwrap();
    fs::write(at("04.nointerpreter"), "#!/nonexistent\n").unwrap();
    fs::set_permissions(at("04.nointerpreter"), fs::Permissions::from_mode(0o755)).unwrap();
    node.serve(async |client| {
        assert_eq!(client.run("e").await, 0);
        let off = -ENOEXEC;
        let expected = [
            ("01.off", off),
            ("02.noshebang", off),
            ("03.gone", off),
            ("04.nointerpreter", off),
            ("05.ok", 0),
            ("06.del", off),
        ];
        assert_eq!(client.results("e").await, named(&expected));
    });
}

#[test]
fn a_hung_script_is_looked_at_by_the_debug_script_and_then_ended() {
    let node = Node::new(&[
        (
            "01.a",
            "trap 'echo ended > $BASE/ended; exit' TERM; echo $$ > $BASE/pid; echo before; while :; do sleep 0.05; done",
        ),
        ("02.b", ""),
    ]);
    node.program("debug.sh", "echo \"$2 $1\" > $BASE/debugged");
    fs::write(node.paths.config(), "[event]\n debug script = debug.sh\n").unwrap();
    node.serve(async |client| {
        assert_eq!(client.request("e", None, 1, 0).await, ETIMEDOUT);
        let status = client.status("e").await.unwrap();
        assert_eq!(status.scripts.len(), 1);
        assert_eq!(status.scripts[0].result, -ETIMEDOUT);
        assert_eq!(status.scripts[0].output.as_deref(), Some(&b"before\n"[..]));
        client.until_file_is(node.file("ended"), "ended\n").await;
        let pid = fs::read_to_string(node.file("pid")).unwrap();
        assert_eq!(
            fs::read_to_string(node.file("debugged")).unwrap(),
            format!("e {pid}")
        );
    });
}

#[test]
fn an_event_without_time_starts_nothing() {
    let node = Node::new(&[("01.a", "touch $BASE/started")]);
    node.serve(async |client| {
        assert_eq!(client.request("e", None, 0, 0).await, ETIMEDOUT);
        assert_eq!(client.results("e").await, named(&[("01.a", -ETIMEDOUT)]));
        assert!(!node.file("started").exists());
    });
}

#[test]
fn any_event_kills_a_running_monitor_with_all_its_processes() {
    let body = "[ $1 = monitor ] || exit 0\nsh -c 'echo run > '$BASE'/running; sleep 100; :' & wait; echo survived > $BASE/survived";
    let node = Node::new(&[("01.a", body)]);
    node.serve(async |client| {
        let other = client.clone();
        let monitor = client.handle.spawn(async move { other.run("monitor").await });
        client.until_file_is(node.file("running"), "run\n").await;
        let begin = Instant::now();
        assert_eq!(client.run("takeip").await, 0);
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "takeip did not wait for the monitor event"
        );
        assert_eq!(monitor.await, ECANCELED);
        assert!(!node.file("survived").exists());
        assert_eq!(
            client.status("monitor").await,
            Err(EINVAL),
            "a cancelled event is not remembered"
        );
    });
}

#[test]
fn monitor_is_refused_while_another_event_runs_and_others_wait() {
    let body =
        "echo $1 >> $BASE/seen; [ $1 = first ] || exit 0; while [ ! -e $BASE/go ]; do sleep 0.02; done";
    let node = Node::new(&[("01.a", body)]);
    node.serve(async |client| {
        let (a, b) = (client.clone(), client.clone());
        let first = client.handle.spawn(async move { a.run("first").await });
        client.until_file_is(node.file("seen"), "first\n").await;
        assert_eq!(client.run("monitor").await, ECANCELED);
        let second = client.handle.spawn(async move { b.run("second").await });
        assert_eq!(
            client.status("first").await,
            Err(EINVAL),
            "a status is answered while an event runs"
        );
        fs::write(node.file("go"), "").unwrap();
        assert_eq!((first.await, second.await), (0, 0));
        assert_eq!(fs::read_to_string(node.file("seen")).unwrap(), "first\nsecond\n");
    });
}

#[test]
fn ten_megabytes_of_output_are_cut_in_the_middle() {
    let node = Node::new(&[(
        "01.a",
        "echo begin; head -c 10000000 /dev/zero | tr '\\0' x; echo; echo end; exit 1",
    )]);
    node.serve(async |client| {
        assert_eq!(client.run("e").await, ENOEXEC);
        let status = client.status("e").await.unwrap();
        let text = String::from_utf8(status.scripts[0].output.clone().unwrap()).unwrap();
        assert!(text.starts_with("begin\nxxx") && text.ends_with("xxx\nend\n"));
        assert!(text.contains("bytes of output left out here") && text.len() < 70_000);
    });
}

#[test]
fn a_service_left_behind_by_a_script_does_not_delay_the_event() {
    let node = Node::new(&[(
        "01.a",
        "sh -c 'while [ ! -e '$BASE'/go ]; do sleep 0.02; done; echo lived > '$BASE'/lived' & echo started",
    )]);
    node.serve(async |client| {
        assert_eq!(client.run("e").await, 0);
        let status = client.status("e").await.unwrap();
        assert_eq!(status.scripts[0].output.as_deref(), Some(&b"started\n"[..]));
        fs::write(node.file("go"), "").unwrap();
        client.until_file_is(node.file("lived"), "lived\n").await;
    });
}

#[test]
fn unknown_components_and_scripts_are_refused() {
    let node = Node::new(&[("01.a", "")]);
    node.serve(async |client| {
        let socket = client.paths.socket("eventd");
        let run = |component: Option<&str>| Run {
            component: component.map(str::to_owned),
            event: Some("e".into()),
            args: None,
            timeout_secs: 1,
            flags: 0,
        };
        for (component, errno) in [
            (Some("nosuch"), ENOENT),
            (Some("../events/legacy"), EINVAL),
            (None, EINVAL),
        ] {
            assert_eq!(
                client::run(&client.handle, &socket, run(component))
                    .await
                    .unwrap(),
                errno,
                "{component:?}"
            );
        }
        let set = async |name: &str, enable| {
            client::script(&client.handle, &socket, "legacy", name, enable)
                .await
                .unwrap()
        };
        assert_eq!(set("01.a", false).await, 0);
        assert_eq!(set("../../x", false).await, EINVAL);
        assert_eq!(set("99.nosuch", true).await, ENOENT);
        assert_eq!(client.run("e").await, 0);
        assert_eq!(client.results("e").await, named(&[("01.a", -ENOEXEC)]));
    });
}

#[test]
fn a_malformed_packet_closes_its_client_and_nothing_else() {
    let node = Node::new(&[("01.a", "")]);
    node.serve(async |client| {
        for bytes in [
            &[0xff; 64][..],
            &[0; 64],
            b"\x14\0\0\0\0\0\0\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
        ] {
            let stream = client
                .handle
                .connect_unix(&client.paths.socket("eventd"))
                .await
                .unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = [0; 1];
            let closed = client
                .handle
                .timeout(Duration::from_secs(10), stream.read(&mut answer))
                .await
                .unwrap();
            // Bytes that were not read make it a reset instead of an end.
            assert!(!matches!(closed, Ok(1..)), "{bytes:?} got an answer");
        }
        assert_eq!(client.run("e").await, 0);
    });
}

#[test]
fn the_daemon_ends_with_the_process_that_it_serves() {
    let node = Node::new(&[]);
    let mut served = std::process::Command::new("true").spawn().unwrap();
    let pid = i32::try_from(served.id()).unwrap();
    served.wait().unwrap();
    let runtime = Runtime::new().unwrap();
    let config = Config::load(&node.paths).unwrap();
    let options = Options {
        pid: Some(pid),
        startup: None,
    };
    let stopped = runtime
        .block_on(serve(&runtime.handle(), &node.paths, config, options))
        .unwrap();
    assert_eq!((stopped, stopped.exit_code()), (Stopped::PidGone, 3));
    assert!(!node.paths.socket("eventd").exists() && !node.paths.pid_file("eventd").exists());
}
