//! A WebDAV server of the careless kind, such as people write in an afternoon: it writes in place, so that everybody sees what has come so far, and
//! keeps it when the connection breaks off; it knows neither conditions nor ranges; its links are whole URLs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use warifu_store::{RemoteOptions, RemoteStore, StoreSpec};
use warifu_testkit::proxy::{Mode, Proxy};
use warifu_testkit::stores::{contract, share_name};
use warifu_vault::seam::store::{Durability, ShareStore, StoreErrorKind};

use crate::common::{bytes, create, expect_kind, options, put, spec};

#[derive(Default)]
struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    folders: BTreeSet<String>,
    moves: u32,
    /// So much of a body is kept in memory before it is written.
    buffer: usize,
    /// Whether a write under a taken name is refused, for those who ask for that.
    refuses_taken: bool,
    /// So many writes with a condition fail, whatever is the matter.
    failing: u32,
    /// With what status.
    failure: &'static str,
    /// So many blanks stand in each listing.
    blanks: usize,
}

struct Careless {
    disk: Arc<Mutex<Disk>>,
    port: u16,
}

impl Careless {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let disk = Arc::new(Mutex::new(Disk::default()));
        disk.lock().unwrap().folders.insert(String::new());
        let ours = Arc::clone(&disk);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let disk = Arc::clone(&ours);
                std::thread::spawn(move || {
                    let _ = serve(client, &disk, port);
                });
            }
        });
        Self { disk, port }
    }

    fn spec(&self, place: &str, port: u16) -> StoreSpec {
        spec(&format!("webdav://localhost:{port}/{place}"), &[])
    }
}

fn serve(client: TcpStream, disk: &Mutex<Disk>, port: u16) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut answers = client.try_clone()?;
    let mut requests = BufReader::new(client);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            lines.iter().skip(1).find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let mut first = lines[0].split(' ');
        let (method, path) = (first.next().unwrap(), first.next().unwrap());
        let path = path.trim_matches('/').to_owned();
        let len: usize = header("content-length").map_or(0, |len| len.parse().unwrap());
        let parent_is_there = {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            disk.lock().unwrap().folders.contains(parent)
        };
        let conditional = method == "PUT" && header("if-none-match") == Some("*");
        let mut refused = None;
        if method == "PUT" && parent_is_there {
            let disk = &mut *disk.lock().unwrap();
            let taken = disk.files.contains_key(&path);
            if conditional && disk.failing > 0 {
                disk.failing -= 1;
                refused = Some(disk.failure);
            } else if conditional && disk.refuses_taken && taken {
                refused = Some("412 Precondition Failed");
            } else if disk.buffer == 0 {
                disk.files.insert(path.clone(), Vec::new());
            }
        }
        let mut left = len;
        let mut written = Vec::new();
        let mut buffer = vec![0; 8 << 10];
        while left > 0 {
            let want = left.min(buffer.len());
            let got = requests.read(&mut buffer[..want])?;
            if got == 0 {
                return Ok(());
            }
            left -= got;
            if method == "PUT" && parent_is_there && refused.is_none() {
                written.extend_from_slice(&buffer[..got]);
                let disk = &mut *disk.lock().unwrap();
                if written.len() >= disk.buffer || left == 0 {
                    disk.files.insert(path.clone(), written.clone());
                }
            }
        }
        let mut guard = disk.lock().unwrap();
        let disk = &mut *guard;
        let (status, body) = match method {
            "PUT" if refused.is_some() => (refused.unwrap(), Vec::new()),
            "PUT" if parent_is_there => ("201 Created", Vec::new()),
            "PUT" => ("409 Conflict", Vec::new()),
            "GET" | "HEAD" => match disk.files.get(&path) {
                Some(file) => ("200 OK", file.clone()),
                None => ("404 Not Found", Vec::new()),
            },
            "DELETE" => match disk.files.remove(&path) {
                Some(_) => ("204 No Content", Vec::new()),
                None => ("404 Not Found", Vec::new()),
            },
            "MKCOL" if disk.folders.contains(&path) => ("405 Method Not Allowed", Vec::new()),
            "MKCOL" if !parent_is_there => ("409 Conflict", Vec::new()),
            "MKCOL" => {
                disk.folders.insert(path.clone());
                ("201 Created", Vec::new())
            }
            "MOVE" => {
                let to = header("destination").unwrap();
                let (_, to) = to.split_once("://").unwrap();
                let (_, to) = to.split_once('/').unwrap();
                let folder = to.rsplit_once('/').map_or("", |(folder, _)| folder);
                if disk.files.contains_key(to) {
                    ("412 Precondition Failed", Vec::new())
                } else if !disk.folders.contains(folder) {
                    ("409 Conflict", Vec::new())
                } else if let Some(file) = disk.files.remove(&path) {
                    disk.moves += 1;
                    disk.files.insert(to.to_owned(), file);
                    ("201 Created", Vec::new())
                } else {
                    ("404 Not Found", Vec::new())
                }
            }
            "PROPFIND" if disk.folders.contains(&path) || disk.files.contains_key(&path) => {
                ("207 Multi-Status", listing(disk, &path, port).into_bytes())
            }
            "PROPFIND" => ("404 Not Found", Vec::new()),
            _ => ("501 Not Implemented", Vec::new()),
        };
        drop(guard);
        write!(
            answers,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        if method != "HEAD" {
            answers.write_all(&body)?;
        }
    }
}

fn listing(disk: &Disk, path: &str, port: u16) -> String {
    let mut text = String::from(r#"<?xml version="1.0"?><x:multistatus xmlns:x="DAV:">"#);
    let mut add = |name: &str, len: Option<usize>| {
        let what = match len {
            Some(len) => format!("<x:resourcetype/><x:getcontentlength>{len}</x:getcontentlength>"),
            None => "<x:resourcetype><x:collection/></x:resourcetype>".to_owned(),
        };
        text.push_str(&format!(
            "<x:response><x:href>http://localhost:{port}/{name}</x:href><x:propstat><x:prop>{what}</x:prop>\
             <x:status>HTTP/1.1 200 OK</x:status></x:propstat></x:response>"
        ));
    };
    let inside = |name: &str| {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        folder == path && !name.is_empty()
    };
    add(path, disk.files.get(path).map(Vec::len));
    for name in disk.folders.iter().filter(|name| inside(name)) {
        add(name, None);
    }
    for (name, file) in disk.files.iter().filter(|(name, _)| inside(name)) {
        add(name, Some(file.len()));
    }
    text.push_str(&" ".repeat(disk.blanks));
    text.push_str("</x:multistatus>");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_careless_server_is_made_to_keep_the_contract() {
    let servers = Mutex::new(Vec::new());
    contract::store(async || {
        let server = Careless::start();
        let store = create(&server.spec("store", server.port)).await;
        let number = {
            let mut servers = servers.lock().unwrap();
            servers.push(server);
            servers.len()
        };
        // Half of the checks know what they have to do with from the beginning.
        if number.is_multiple_of(2) {
            let powers = store.powers().await.unwrap();
            assert!(powers.shows_parts && !powers.refuses_taken);
        }
        Arc::new(store) as Arc<dyn ShareStore>
    })
    .await;
    let servers = servers.into_inner().unwrap();
    let moves: u32 = servers
        .iter()
        .map(|server| server.disk.lock().unwrap().moves)
        .sum();
    assert!(
        moves > 500,
        "objects are moved when they are whole: {moves}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_not_even_a_careless_server_shows_a_part_under_a_name() {
    let server = Careless::start();
    let line = Proxy::to(server.port);
    create(&server.spec("store", server.port)).await;
    let limits: RemoteOptions = options(Duration::from_secs(20));
    let store = RemoteStore::open(&server.spec("store", line.port()), limits)
        .await
        .unwrap();
    let seen = RemoteStore::open(&server.spec("store", server.port), limits)
        .await
        .unwrap();
    for known in [false, true] {
        if known {
            assert!(store.powers().await.unwrap().shows_parts);
        }
        let name = share_name(u64::from(known));
        line.set(Mode::CutRequests(500_000));
        let cut = store
            .put_new(&name, bytes(1 << 20, 1), Durability::Now)
            .await;
        expect_kind(cut, StoreErrorKind::NoAnswer, "a write that broke off");
        line.set(Mode::Pass);
        expect_kind(
            seen.get(&name, None).await,
            StoreErrorKind::NotFound,
            "a part of it",
        );
        put(&store, &name, bytes(1 << 20, 1)).await;
        assert!(seen.get(&name, None).await.unwrap() == bytes(1 << 20, 1));
    }
}

/// The half of the trial takes longer than any fixed time on a line like this.
#[tokio::test(flavor = "multi_thread")]
async fn p4_parts_are_found_out_on_a_slow_line_too() {
    let server = Careless::start();
    create(&server.spec("store", server.port)).await;
    server.disk.lock().unwrap().buffer = 224 << 10;
    let line = Proxy::to(server.port);
    let spec = server.spec("store", line.port());
    let store = RemoteStore::open(&spec, options(Duration::from_secs(30)))
        .await
        .unwrap();
    line.set_rate(400 << 10);
    assert!(store.powers().await.unwrap().shows_parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_failure_is_no_word_about_conditions() {
    for (failure, concluded) in [
        ("500 Internal Server Error", false),
        ("423 Locked", false),
        ("501 Not Implemented", true),
        ("400 Bad Request", true),
    ] {
        let server = Careless::start();
        let spec = server.spec("store", server.port);
        create(&spec).await;
        {
            let mut disk = server.disk.lock().unwrap();
            (disk.refuses_taken, disk.failing, disk.failure) = (true, 1, failure);
        }
        let store = RemoteStore::open(&spec, options(Duration::from_secs(30)))
            .await
            .unwrap();
        match store.powers().await {
            Ok(powers) => assert!(concluded && !powers.refuses_taken, "{failure}"),
            Err(error) => {
                assert!(!concluded, "{failure}: {error}");
                assert!(store.powers().await.unwrap().refuses_taken, "{failure}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_listing_that_would_fill_the_memory_is_an_error_and_says_so() {
    let server = Careless::start();
    let store = create(&server.spec("store", server.port)).await;
    put(&store, &share_name(1), bytes(10, 1)).await;
    server.disk.lock().unwrap().blanks = 33 << 20;
    let error = expect_kind(
        store.list(None, 10).await,
        StoreErrorKind::Failed,
        "an endless listing",
    );
    assert!(error.to_string().contains("longer than"), "{error}");
    server.disk.lock().unwrap().blanks = 0;
    assert_eq!(store.list(None, 10).await.unwrap().objects.len(), 1);
}
