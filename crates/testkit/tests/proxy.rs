//! The network between a client and a server does what it is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use warifu_testkit::proxy::Proxy;

/// A server that answers each byte with the next one, and counts them.
fn counting() -> (Proxy, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
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
    proxy.lose_replies(true);
    assert!(ask(&mut client(&proxy), 7).is_err());
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    proxy.lose_replies(false);
    assert_eq!(ask(&mut client(&proxy), 7).unwrap(), 8);
}

#[test]
fn a_cut_ends_connections_old_and_new_until_it_is_mended() {
    let (proxy, heard) = counting();
    let mut before = client(&proxy);
    ask(&mut before, 7).unwrap();
    proxy.cut();
    assert!(ask(&mut before, 7).is_err());
    assert!(ask(&mut client(&proxy), 7).is_err());
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    proxy.resume();
    assert_eq!(ask(&mut client(&proxy), 7).unwrap(), 8);
}

#[test]
fn a_pause_keeps_everything_waiting_and_loses_nothing() {
    let (proxy, _) = counting();
    let mut client = client(&proxy);
    ask(&mut client, 7).unwrap();
    proxy.pause();
    client.write_all(&[9]).unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(client.read_exact(&mut [0]).is_err(), "nothing is heard");
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    proxy.resume();
    let mut answer = [0];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [10]);
}
