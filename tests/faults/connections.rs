//! Thousands of connections of clients that are slow, or say nothing at all: good traffic goes on beside
//! them, and memory stays bounded.

use std::io::Write;
use std::net::TcpStream;

use crate::fleet::{DISTANT, Fleet, resident_mib};
use crate::load::Load;
use crate::{alone, full, open_files, promise, seconds};

/// One below what a coordinator takes by default: the good need a place too.
const MOST: u64 = 9_900;
/// What the test and the processes need beside those connections.
const OTHERS: u64 = 600;

/// What a slow client has sent so far.
fn begun(kind: usize) -> &'static str {
    match kind % 4 {
        0 => "",
        1 => "POST /infer HTTP/1.1\r\nhost: c\r\ncontent-ty",
        2 => {
            "POST /infer HTTP/1.1\r\nhost: c\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"task_type\""
        }
        // Asks, and never reads what it is told.
        _ => "GET /workers HTTP/1.1\r\nhost: c\r\n\r\n",
    }
}

#[test]
fn slow_clients_do_not_harm_good_ones() {
    let _alone = alone();
    let count = (if full() { MOST } else { 2_000 }).min(open_files().saturating_sub(OTHERS));
    println!("{count} connections of slow and silent clients");
    let fleet = Fleet::start(2, DISTANT);
    let flags = format!("--rate 40 --duration {}s --seed 10", seconds(3, 15));
    let alone = Load::start(&fleet, &flags).finish();
    alone.print("good traffic alone");
    alone.all_answered();
    let before = resident_mib(&fleet.coordinator);
    let address = fleet.coordinator.url.trim_start_matches("http://");
    let mut clients: Vec<TcpStream> = (0..count as usize)
        .map(|kind| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(begun(kind).as_bytes()).unwrap();
            client
        })
        .collect();
    let running = Load::start(&fleet, &flags);
    let answered = fleet.counter("successful_requests");
    // A byte now and then, as the slowest of networks would bring it.
    for more in [10, 40, 70] {
        fleet.wait_for_answers(answered, more);
        for (kind, client) in clients.iter_mut().enumerate().filter(|(kind, _)| matches!(kind % 4, 1 | 2)) {
            // One that was cut off for its slowness stays so.
            let _ = client.write_all(if kind % 4 == 1 { b"p" } else { b" " });
        }
    }
    let beside = running.finish();
    beside.print("beside the slow");
    beside.all_answered();
    let after = resident_mib(&fleet.coordinator);
    let each = 1024.0 * (after - before) / count as f64;
    println!("  the coordinator takes {before:.0} -> {after:.0} MiB, {each:.1} KiB a connection");
    assert!(each < 64.0, "{each:.1} KiB a connection");
    let ratio = beside.ms("p99") / alone.ms("p99");
    promise(
        &format!("p99 of the good at most 1.5 x of before, or under 50 ms ({ratio:.2} x)"),
        ratio <= 1.5 || beside.ms("p99") < 50.0,
    );
}
