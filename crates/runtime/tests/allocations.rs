//! The path of a packet allocates nothing: read, cut, answer, write, for both directions of a connection.
//! (Here and not in the transport crate because a counting allocator needs `unsafe`.)

#![allow(unsafe_code)] // the allocator below
#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use ctdb_runtime::{Class, Runtime};
use ctdb_transport::{Connection, Flow, Limits, LinkKind};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only a number is kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn packets_to_and_fro_allocate_nothing_once_warm() {
    const IN_FLIGHT: usize = 100;
    const WARM: u64 = 20_000;
    const MEASURED: u64 = 100_000;
    let mut packet = [7; 64];
    packet[..4].copy_from_slice(&64u32.to_le_bytes());

    let runtime = Runtime::new().unwrap();
    let h = runtime.handle();
    let (a, b) = runtime.block_on(async { h.stream_pair() }).unwrap();
    let seen = Rc::new(Cell::new(0));
    let bounce = |stream, name, count: Option<Rc<Cell<u64>>>| {
        let mut connection = Connection::new(&h, stream, name, Limits::default());
        let sender = connection.sender();
        let on_packet = move |packet: &[u8]| {
            if let Some(count) = &count {
                count.set(count.get() + 1);
            }
            sender.send_with(|buf| buf.extend_from_slice(packet)).unwrap();
            Flow::Continue
        };
        connection.receive(Class::Normal, LinkKind::Client, on_packet, |closed| {
            panic!("{closed}")
        });
        connection
    };
    let near = bounce(a, "near", Some(seen.clone()));
    let _far = bounce(b, "far", None);
    for _ in 0..IN_FLIGHT {
        near.send(&packet).unwrap();
    }
    let run_to = |packets| {
        runtime.block_on(async {
            while seen.get() < packets {
                h.yield_now().await;
            }
        });
    };
    run_to(WARM);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    run_to(WARM + MEASURED);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    // `block_on` itself makes a waker; a queue may grow once more.
    assert!(
        allocations < 20,
        "{allocations} allocations for {MEASURED} packets each way"
    );
}
