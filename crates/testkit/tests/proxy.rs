//! The network between a client and a server does what it is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use warifu_testkit::proxy::{Mode, Proxy};

/// A server that answers each byte with the next one, and counts them.
fn counting() -> (Proxy, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port());
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                let mut stream = stream;
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(&[byte[0].wrapping_add(1)]);
                }
            });
        }
    });
    (proxy, heard)
}

fn client(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.address()).unwrap();
    client.set_nodelay(true).unwrap();
    let limit = Duration::from_secs(20);
    client.set_read_timeout(Some(limit)).unwrap();
    client
}

fn ask(client: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
    client.write_all(&[byte])?;
    let mut answer = [0];
    client.read_exact(&mut answer)?;
    Ok(answer[0])
}

#[test]
fn a_round_trip_takes_both_delays_and_is_counted() {
    let (proxy, _) = counting();
    let mut client = client(&proxy);
    assert_eq!(ask(&mut client, 7).unwrap(), 8);
    let delay = Duration::from_millis(30);
    proxy.set_delay(delay);
    let begin = Instant::now();
    for byte in 0..3 {
        assert_eq!(ask(&mut client, byte).unwrap(), byte + 1);
    }
    assert!(begin.elapsed() >= delay * 6, "{:?}", begin.elapsed());
    assert_eq!((proxy.turns(), proxy.connections()), (4, 1));

    // What is sent without waiting for an answer is one turn, and is delayed once.
    let begin = Instant::now();
    client.write_all(&[1; 50]).unwrap();
    let mut answers = [0; 50];
    client.read_exact(&mut answers).unwrap();
    assert_eq!((answers, proxy.turns()), ([2; 50], 5));
    assert!(begin.elapsed() < delay * 50, "{:?}", begin.elapsed());
}

#[test]
fn a_lost_reply_is_of_a_request_that_arrived() {
    let (proxy, heard) = counting();
    proxy.set(Mode::LoseReplies);
    assert!(ask(&mut client(&proxy), 7).is_err());
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    proxy.set(Mode::Pass);
    assert_eq!(ask(&mut client(&proxy), 7).unwrap(), 8);
}

#[test]
fn a_cut_ends_connections_old_and_new_until_it_is_mended() {
    let (proxy, heard) = counting();
    let mut before = client(&proxy);
    ask(&mut before, 7).unwrap();
    proxy.set(Mode::Cut);
    assert!(ask(&mut before, 7).is_err());
    assert!(ask(&mut client(&proxy), 7).is_err());
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    proxy.set(Mode::Pass);
    assert_eq!(ask(&mut client(&proxy), 7).unwrap(), 8);
}

#[test]
fn a_pause_keeps_everything_waiting_and_loses_nothing() {
    let (proxy, _) = counting();
    let mut client = client(&proxy);
    ask(&mut client, 7).unwrap();
    proxy.set(Mode::Pause);
    client.write_all(&[9]).unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(client.read_exact(&mut [0]).is_err(), "nothing is heard");
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    proxy.set(Mode::Pass);
    let mut answer = [0];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [10]);
}

#[test]
fn requests_and_answers_are_cut_at_the_byte_they_should_be() {
    let (proxy, heard) = counting();
    proxy.set(Mode::CutRequests(3));
    let mut first = client(&proxy);
    first.write_all(&[1; 10]).unwrap();
    let mut answers = Vec::new();
    let _ = first.read_to_end(&mut answers);
    assert!(answers.len() <= 3, "{answers:?}");
    let begin = Instant::now();
    while heard.load(Ordering::SeqCst) < 3 && begin.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(heard.load(Ordering::SeqCst), 3);

    proxy.set(Mode::CutReplies(0));
    assert!(ask(&mut client(&proxy), 7).is_err());
    assert_eq!(heard.load(Ordering::SeqCst), 4);
    proxy.set(Mode::Pass);
    let mut last = client(&proxy);
    proxy.break_off_after(2);
    assert_eq!(ask(&mut last, 7).unwrap(), 8);
    // With the second byte the connection ends, and a new one is whole.
    let _ = ask(&mut last, 8);
    assert!(ask(&mut last, 9).is_err());
    assert_eq!(ask(&mut client(&proxy), 7).unwrap(), 8);
}

#[test]
fn a_narrow_line_takes_its_time_and_hides_it_from_the_sender() {
    let (proxy, heard) = counting();
    let mut client = client(&proxy);
    proxy.set_rate(20_000);
    let begin = Instant::now();
    client.write_all(&[1; 10_000]).unwrap();
    assert!(heard.load(Ordering::SeqCst) < 10_000, "they are on the way");
    client.read_exact(&mut [0; 10_000]).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(490));
}
