//! Tasks, timers, turns and synchronisation.
#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ctdb_runtime::sync::{Notify, Semaphore, SendError, join_all, oneshot, queue};
use ctdb_runtime::{Elapsed, Handle, Runtime, TurnEnd};

fn run<F: Future<Output = ()>>(test: impl FnOnce(Handle) -> F) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(test(runtime.handle()));
}

type Log = Rc<RefCell<Vec<String>>>;

#[test]
fn timers_go_off_in_the_order_of_their_times_and_equal_ones_in_the_order_of_setting() {
    run(|h| async move {
        let log = Log::default();
        let start = h.now();
        let tasks = [(20, "c"), (5, "a"), (20, "d"), (10, "b")].map(|(ms, name)| {
            let (h, log) = (h.clone(), log.clone());
            h.clone().spawn(async move {
                h.sleep_until(start + Duration::from_millis(ms)).await;
                log.borrow_mut().push(name.to_string());
            })
        });
        join_all(tasks).await;
        assert_eq!(log.borrow().concat(), "abcd");
        assert!(h.now() - start >= Duration::from_millis(20));
    });
}

#[test]
fn a_timeout_drops_what_was_too_slow() {
    struct SetOnDrop(Rc<Cell<bool>>);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    run(|h| async move {
        let dropped = Rc::new(Cell::new(false));
        let guard = SetOnDrop(dropped.clone());
        let slow = async {
            let _guard = guard;
            std::future::pending::<()>().await;
        };
        assert_eq!(h.timeout(Duration::from_millis(2), slow).await, Err(Elapsed));
        assert!(dropped.get());
        assert_eq!(h.timeout(Duration::from_secs(5), async { 7 }).await, Ok(7));
    });
}

#[test]
fn dropping_a_task_cancels_it_and_detaching_does_not() {
    run(|h| async move {
        let (kept, cancelled) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let set = |flag: &Rc<Cell<bool>>| {
            let (flag, h) = (flag.clone(), h.clone());
            async move {
                h.yield_now().await;
                flag.set(true);
            }
        };
        h.spawn(set(&kept)).detach();
        drop(h.spawn(set(&cancelled)));
        for _ in 0..3 {
            h.yield_now().await;
        }
        assert!(kept.get());
        assert!(!cancelled.get());
        assert_eq!(Rc::strong_count(&cancelled), 1, "the cancelled future is gone");
    });
}

#[test]
fn a_runtime_takes_its_detached_tasks_with_it() {
    let token = Rc::new(());
    {
        let runtime = Runtime::new().unwrap();
        let (h, held) = (runtime.handle(), token.clone());
        runtime
            .handle()
            .spawn(async move {
                let _held = held;
                h.sleep(Duration::from_secs(3600)).await;
            })
            .detach();
        runtime.block_on(runtime.handle().yield_now());
        assert_eq!(Rc::strong_count(&token), 2);
    }
    assert_eq!(Rc::strong_count(&token), 1);
}

#[test]
fn urgent_tasks_run_before_normal_ones() {
    run(|h| async move {
        let log = Log::default();
        let say = |what: &str| {
            let (log, what) = (log.clone(), what.to_string());
            async move { log.borrow_mut().push(what) }
        };
        let mut tasks = vec![h.spawn(say("n1")), h.spawn(say("n2"))];
        // Ready while a batch is under way: runs before the next normal task.
        let (h2, later) = (h.clone(), say("u2"));
        tasks.push(h.spawn(async move { h2.spawn_urgent(later).detach() }));
        tasks.push(h.spawn(say("n3")));
        tasks.push(h.spawn_urgent(say("u1")));
        join_all(tasks).await;
        assert_eq!(log.borrow().join(" "), "u1 n1 n2 u2 n3");
    });
}

#[test]
fn a_thousand_yielding_tasks_all_get_their_turns() {
    run(|h| async move {
        let counts: Rc<Vec<Cell<u32>>> = Rc::new((0..1000).map(|_| Cell::new(0)).collect());
        let widest = Rc::new(Cell::new(0));
        let tasks = (0..1000).map(|i| {
            let (h, counts, widest) = (h.clone(), counts.clone(), widest.clone());
            h.clone().spawn(async move {
                for round in 1..=20 {
                    counts[i].set(round);
                    let least = counts.iter().map(Cell::get).min().unwrap();
                    widest.set(widest.get().max(round - least));
                    h.yield_now().await;
                }
            })
        });
        join_all(tasks.collect::<Vec<_>>()).await;
        assert!(counts.iter().all(|c| c.get() == 20));
        // A turn may be cut by time, then others are ahead by the tasks that gave way meanwhile: never far.
        assert!(widest.get() <= 3, "some task was {} rounds ahead", widest.get());
    });
}

#[test]
fn an_urgent_task_that_never_rests_does_not_starve_the_others() {
    run(|h| async move {
        let other = h.clone();
        let _spinner = h.spawn_urgent(async move {
            loop {
                other.yield_now().await;
            }
        });
        let (a, b) = h.stream_pair().unwrap();
        a.write_all(b"through").await.unwrap();
        let mut buf = [0; 7];
        b.read_exact(&mut buf).await.unwrap();
        h.sleep(Duration::from_millis(2)).await;
    });
}

#[test]
fn a_turn_end_hook_is_called_once_per_request_after_the_tasks_of_the_turn() {
    struct Hook(Log);
    impl TurnEnd for Hook {
        fn turn_end(self: Rc<Self>) {
            self.0.borrow_mut().push("end".into());
        }
    }
    run(|h| async move {
        let log = Log::default();
        let hook = Rc::new(Hook(log.clone()));
        let tasks = ["a", "b"].map(|name| {
            let (h, hook, log) = (h.clone(), hook.clone(), log.clone());
            h.clone().spawn(async move {
                log.borrow_mut().push(name.into());
                if name == "a" {
                    h.at_turn_end(hook);
                }
                h.yield_now().await;
                h.yield_now().await;
            })
        });
        join_all(tasks).await;
        assert_eq!(log.borrow().join(" "), "a b end");
        assert!(h.turn_lengths().turns() >= 2);
    });
}

#[test]
fn a_semaphore_serves_in_order_and_a_dropped_waiter_passes_its_permit_on() {
    run(|h| async move {
        let semaphore = Semaphore::new(1);
        let log = Log::default();
        let held = semaphore.acquire().await;
        let mut tasks: Vec<_> = (0..3)
            .map(|i| {
                let (h, semaphore, log) = (h.clone(), semaphore.clone(), log.clone());
                h.clone().spawn(async move {
                    let _permit = semaphore.acquire().await;
                    log.borrow_mut().push(i.to_string());
                    h.yield_now().await;
                })
            })
            .collect();
        h.yield_now().await;
        assert!(semaphore.try_acquire().is_none());
        drop(held); // given to task 0, ...
        drop(tasks.remove(0)); // ... which goes before it runs
        join_all(tasks).await;
        assert_eq!(log.borrow().concat(), "12");
        assert_eq!(semaphore.free(), 1);
    });
}

#[test]
fn a_bounded_queue_makes_senders_wait_and_tells_both_ends_of_the_other() {
    run(|h| async move {
        let (tx, mut rx) = queue(2);
        let sender = h.spawn(async move {
            for i in 0..10 {
                tx.send(i).await.unwrap();
                assert!(tx.len() <= 2);
            }
        });
        let mut got = Vec::new();
        while let Some(i) = rx.recv().await {
            got.push(i);
        }
        sender.await;
        assert_eq!(got, (0..10).collect::<Vec<_>>());
        let (tx, rx) = queue(1);
        tx.try_send(1).unwrap();
        assert_eq!(tx.try_send(2), Err(SendError::Full(2)));
        drop(rx);
        assert_eq!(tx.send(3).await, Err(3));
    });
}

#[test]
fn a_oneshot_delivers_or_tells_that_the_sender_is_gone() {
    run(|h| async move {
        let (tx, rx) = oneshot();
        let waiting = h.spawn(rx);
        h.yield_now().await;
        tx.send(5).unwrap();
        assert_eq!(waiting.await, Ok(5));
        let (tx, rx) = oneshot::<()>();
        drop(tx);
        assert!(rx.await.is_err());
        let (tx, rx) = oneshot();
        drop(rx);
        assert!(tx.is_closed());
        assert_eq!(tx.send(6), Err(6));
    });
}

#[test]
fn notify_one_is_kept_for_the_next_waiter_and_notify_all_reaches_futures_made_before() {
    run(|h| async move {
        let notify = Notify::new();
        notify.notify_one();
        notify.notified().await;
        let made_before = notify.notified();
        notify.notify_all();
        made_before.await;
        let late = notify.notified();
        assert!(h.timeout(Duration::from_millis(1), late).await.is_err());
        // A waiter that was chosen and dropped hands over to the next.
        let (first, second) = (notify.notified(), notify.notified());
        let first = h.spawn(first);
        let second = h.spawn(second);
        h.yield_now().await;
        notify.notify_one();
        drop(first);
        second.await;
    });
}
