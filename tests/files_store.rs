//! The file store: on local disk through the running server, and on an S3-compatible store that
//! verifies signatures itself.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use cairn::error::Code;
use cairn::files::{Files, Key};
use futures_util::TryStreamExt;
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::sigv4::Presigned;
use crate::support::{App, Backend, S3, client, open_files};

const HOUR: Duration = Duration::from_secs(3600);

/// A file store, and what clients need to reach it.
struct Place {
    files: Files,
    /// The server, where it carries the bytes.
    app: Option<App>,
    client: reqwest::Client,
    _s3: Option<S3>,
}

impl Place {
    async fn disk() -> Place {
        Place::disk_with(&[]).await
    }

    async fn disk_with(arguments: &[&str]) -> Place {
        let app = App::start_with(Backend::Sqlite, arguments).await;
        Place { files: app.file_store().await, app: Some(app), client: client(), _s3: None }
    }

    async fn s3() -> Place {
        let s3 = S3::start().await;
        Place { files: s3.file_store("/cairn/1"), app: None, client: client(), _s3: Some(s3) }
    }

    async fn both() -> [Place; 2] {
        [Place::disk().await, Place::s3().await]
    }

    async fn finish(self) {
        if let Some(app) = self.app {
            app.finish().await;
        }
    }

    fn base(&self) -> &str {
        self.app.as_ref().map_or("http://unused.example", |app| &app.url)
    }

    async fn put_url(&self, key: &Key, content_type: Option<&str>) -> String {
        self.files.upload_url(self.base(), key, content_type, HOUR).await.expect("a URL")
    }

    async fn get_url(&self, key: &Key, content_type: Option<&str>) -> String {
        self.files.download_url(self.base(), key, content_type, HOUR).await.expect("a URL")
    }

    fn put(&self, url: &str, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.put(url).header(header::CONTENT_TYPE, content_type).body(body)
    }

    /// Uploads as a client does, and expects that it works.
    async fn store(&self, key: &Key, body: impl Into<reqwest::Body>) {
        let url = self.put_url(key, Some("image/jpeg")).await;
        let answer = send(self.put(&url, "image/jpeg", body)).await;
        assert_eq!(answer.status, 200, "{key}: {answer:?}");
    }

    async fn get(&self, key: &Key) -> Answer {
        send(self.client.get(self.get_url(key, Some("image/jpeg")).await)).await
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    fn code(&self) -> Json {
        let body: Json = serde_json::from_slice(&self.body).expect("JSON");
        body["errors"][0]["extensions"]["code"].clone()
    }
}

async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the server answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: response.bytes().await.expect("a body").to_vec() }
}

fn key(name: &str) -> Key {
    Key::new(Uuid::from_u128(0xada), name).expect("a good name")
}

/// Bytes that are no two alike nearby.
fn noise(size: usize) -> Vec<u8> {
    (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// All files in a folder, with their sizes.
fn files_in(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_in(&path));
        } else {
            let size = entry.metadata().expect("its size").len();
            found.insert(path.display().to_string(), size);
        }
    }
    found
}

#[tokio::test]
async fn what_is_uploaded_can_be_downloaded_until_it_is_deleted() {
    for place in Place::both().await {
        for size in [0, 1, 3_000_000] {
            let (key, bytes) = (key(&format!("trips/{size}.jpg")), noise(size));
            assert_eq!(place.files.head(&key).await, Ok(None));
            assert_eq!(place.files.read(&key, 9).await, Ok(None));
            assert_eq!(place.get(&key).await.status, 404);

            place.store(&key, bytes.clone()).await;
            let stored = place.files.head(&key).await.expect("an answer").expect("it is there");
            assert_eq!(stored.size, size as u64);
            let age = chrono::Utc::now().timestamp_millis() - stored.modified;
            assert!((-1_000..60_000).contains(&age), "{age}");
            let read = place.files.read(&key, size as u64).await.expect("an answer");
            assert!(read.expect("it is there") == bytes);
            let answer = place.get(&key).await;
            assert_eq!((answer.status, answer.header(header::CONTENT_TYPE)), (200, "image/jpeg"));
            assert_eq!(answer.header(header::CONTENT_LENGTH), size.to_string());
            assert_eq!(Some(answer.header(header::ETAG)), stored.etag.as_deref());
            assert!(answer.body == bytes);
            if size > 0 {
                let error = place.files.read(&key, size as u64 - 1).await.expect_err("too much");
                assert_eq!(error.code, Code::Limit);
            }

            place.store(&key, "another").await;
            let replaced = place.files.head(&key).await.expect("an answer").expect("it is there");
            assert_ne!(replaced.etag, stored.etag);
            assert_eq!(place.get(&key).await.body, b"another");

            place.files.delete(&key).await.expect("it goes");
            place.files.delete(&key).await.expect("it is gone already");
            assert_eq!(place.files.head(&key).await, Ok(None));
            assert_eq!(place.get(&key).await.status, 404);
        }
        place.finish().await;
    }
}

#[tokio::test]
async fn names_of_all_sorts_come_back_as_they_were() {
    for place in Place::both().await {
        let long = format!("{}/{}", "a b/".repeat(30).trim_end_matches('/'), "l".repeat(120));
        let mut names = vec![
            "plain.jpg",
            "with space.jpg",
            " around ",
            "100%.jpg",
            "%2e%2e/%2F",
            "a+b&c=d;e?f:g@h!'()*,~",
            "photo#1",
            "\"<q>\" & |",
            "Grüße/日本語/😀.jpg",
            "cafe\u{301}",
            ".hidden/...",
        ];
        let widest = "字".repeat(255);
        if place.app.is_some() {
            // The S3 store of the tests keeps names as the disk does, and so has its limits.
            names.extend(["plain.jpg/below", &long, &widest]);
        }
        for name in &names {
            place.store(&key(name), (*name).to_owned()).await;
        }
        let other = Key::new(Uuid::from_u128(0xbeb), "plain.jpg").expect("a good name");
        place.store(&other, "another account's").await;
        for name in &names {
            assert_eq!(place.get(&key(name)).await.body, name.as_bytes(), "{name}");
        }
        assert_eq!(place.get(&other).await.body, b"another account's");

        let mut accounts = place.files.accounts().await.expect("an answer");
        accounts.sort();
        assert_eq!(accounts, [Uuid::from_u128(0xada), Uuid::from_u128(0xbeb)]);
        let found: Vec<_> =
            place.files.list(Uuid::from_u128(0xada)).try_collect().await.expect("an answer");
        let mut found: Vec<_> = found.into_iter().map(|(key, stored)| (key, stored.size)).collect();
        found.sort();
        let mut expected: Vec<_> = names.iter().map(|n| (key(n), n.len() as u64)).collect();
        expected.sort();
        assert_eq!(found, expected);
        let nobody: Vec<_> =
            place.files.list(Uuid::from_u128(0xeee)).try_collect().await.expect("an answer");
        assert!(nobody.is_empty());
        for name in names {
            place.files.delete(&key(name)).await.expect("it goes");
            assert_eq!(place.files.head(&key(name)).await, Ok(None), "{name}");
        }
        place.finish().await;
    }
}

#[tokio::test]
async fn a_url_is_good_for_what_it_was_signed_for_and_nothing_else() {
    for place in Place::both().await {
        let (mine, secret) = (key("mine.jpg"), key("secret.jpg"));
        let foreign = Key::new(Uuid::from_u128(0xbeb), "mine.jpg").expect("a good name");
        for key in [&mine, &secret, &foreign] {
            place.store(key, "old").await;
        }
        let put = place.put_url(&mine, Some("image/jpeg")).await;
        let get = place.get_url(&mine, Some("image/jpeg")).await;
        let free = place.put_url(&mine, None).await;

        let mut refused = vec![
            ("another type", place.put(&put, "text/html", "new")),
            ("a longer type", place.put(&put, "image/jpeg; q=1", "new")),
            ("no type", place.client.put(&put).body("new")),
            ("a PUT URL for GET", place.client.get(&put).header("content-type", "image/jpeg")),
            ("a GET URL for PUT", place.put(&get, "image/jpeg", "new")),
            ("a GET URL for DELETE", place.client.delete(&get)),
            ("a PUT URL for DELETE", place.client.delete(&put)),
        ];
        for (what, from, to) in [
            ("another file", "mine.jpg", "secret.jpg"),
            ("another account", "0ada/", "0beb/"),
            ("a file below", "mine.jpg", "mine.jpg/below"),
            ("out of the account", "mine.jpg", "x/../../mine.jpg"),
            ("out of the account, encoded", "mine.jpg", "..%2Fmine.jpg"),
            ("longer", "expires=1", "expires=2"),
            ("longer", "X-Amz-Expires=3600", "X-Amz-Expires=7200"),
            ("later", "X-Amz-Date=2", "X-Amz-Date=3"),
            ("another region", "eu-central-1", "us-east-1"),
            ("any type", "type=image%2Fjpeg&", ""),
            ("another type", "type=image%2Fjpeg", "type=text%2Fhtml"),
            ("another type", "content-type=image%2Fjpeg", "content-type=text%2Fhtml"),
            ("the type unsigned", "content-type%3Bhost", "host"),
            ("no signature", "ignature=", "ignatur=&x="),
            ("an empty signature", "ignature=", "ignature=&x="),
            ("another signature", "ignature=", "ignature=0"),
        ] {
            for (url, is_put) in [(&put, true), (&get, false)] {
                let url = url.replace(from, to);
                if url != put && is_put {
                    refused.push((what, place.put(&url, "image/jpeg", "new")));
                } else if url != get && !is_put {
                    refused.push((what, place.client.get(&url)));
                }
            }
        }
        let mut count = 0;
        for (what, request) in refused {
            let answer = send(request).await;
            assert!(matches!(answer.status, 400..500), "{what}: {answer:?}");
            assert_ne!(answer.body, b"old", "{what}");
            if place.app.is_some() && !matches!(answer.status, 400 | 405) {
                assert_eq!((answer.status, answer.code()), (403, json!("FORBIDDEN")), "{what}");
            }
            count += 1;
        }
        assert!(count > 20, "{count}");
        for key in [&mine, &secret, &foreign] {
            assert_eq!(place.get(key).await.body, b"old", "nothing was changed");
        }
        // The same URLs, as they are.
        assert_eq!(send(place.put(&put, "image/jpeg", "new")).await.status, 200);
        assert_eq!(send(place.client.get(&get)).await.body, b"new");
        for any in ["text/plain", "application/octet-stream"] {
            assert_eq!(send(place.put(&free, any, "newer")).await.status, 200);
        }
        place.finish().await;
    }
}

#[tokio::test]
async fn a_url_is_good_until_it_expires() {
    for place in Place::both().await {
        let key = key("soon.jpg");
        place.store(&key, "old").await;
        let (files, base, second) = (&place.files, place.base(), Duration::from_secs(1));
        let put = files.upload_url(base, &key, None, second).await.expect("a URL");
        let get = files.download_url(base, &key, None, second).await.expect("a URL");
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let answers =
            [send(place.client.put(&put).body("new")).await, send(place.client.get(&get)).await];
        for answer in answers {
            assert_eq!(answer.status, 403, "{answer:?}");
            if place.app.is_some() {
                assert!(String::from_utf8_lossy(&answer.body).contains("no longer good"));
            }
        }
        assert_eq!(place.get(&key).await.body, b"old");
        // What lasts for ever lasts for a week.
        let long = files.download_url(base, &key, None, HOUR * 24 * 365).await.expect("a URL");
        assert_eq!(send(place.client.get(&long)).await.body, b"old");
        place.finish().await;
    }
}

#[tokio::test]
async fn parts_can_be_asked_for() {
    for place in Place::both().await {
        let (key, bytes) = (key("video.mp4"), noise(200_000));
        place.store(&key, bytes.clone()).await;
        let url = place.get_url(&key, Some("video/mp4")).await;
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=70000-139999", 70_000..140_000),
            ("bytes=199999-", 199_999..200_000),
            ("bytes=-5", 199_995..200_000),
            ("bytes=199990-500000", 199_990..200_000),
        ] {
            let answer = send(place.client.get(&url).header(header::RANGE, range)).await;
            assert_eq!(answer.status, 206, "{range}");
            assert!(answer.body == bytes[expected.clone()], "{range}");
            let content = format!("bytes {}-{}/200000", expected.start, expected.end - 1);
            assert_eq!(answer.header(header::CONTENT_RANGE), content);
            assert_eq!(answer.header(header::CONTENT_LENGTH), expected.len().to_string());
        }
        let answer = send(place.client.get(&url).header(header::RANGE, "bytes=200000-")).await;
        assert_eq!(answer.status, 416);
        if place.app.is_some() {
            assert_eq!(answer.header(header::CONTENT_RANGE), "bytes */200000");
            assert_eq!(answer.code(), "BAD_USER_INPUT");
        }
        place.finish().await;
    }
}

#[tokio::test]
async fn a_client_that_knows_a_file_is_told_whether_it_changed() {
    let place = Place::disk().await;
    let (client, key) = (&place.client, key("video.mp4"));
    place.store(&key, "0123456789").await;
    let url = place.get_url(&key, Some("video/mp4")).await;
    let first = send(client.get(&url)).await;
    assert_eq!(first.header(header::ACCEPT_RANGES), "bytes");
    assert_eq!(first.header(header::CACHE_CONTROL), "private");
    let etag = first.header(header::ETAG);
    for (known, status) in [
        (etag.to_owned(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"x\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
    ] {
        let answer = send(client.get(&url).header(header::IF_NONE_MATCH, &known)).await;
        assert_eq!(answer.status, status, "{known}");
        assert_eq!(answer.header(header::ETAG), etag);
        assert_eq!(answer.body.is_empty(), status == 304);
    }
    let part = || client.get(&url).header(header::RANGE, "bytes=2-3");
    for (known, expected) in [
        (etag, (206, "23")),
        ("\"x\"", (200, "0123456789")),
        ("Wed, 21 Oct 2026 07:28:00 GMT", (200, "0123456789")),
    ] {
        let answer = send(part().header(header::IF_RANGE, known)).await;
        let body = String::from_utf8_lossy(&answer.body);
        assert_eq!((answer.status, &*body), expected, "{known}");
    }
    for several in ["bytes=0-1,4-5", "bytes=5-2", "lines=1-2"] {
        let answer = send(client.get(&url).header(header::RANGE, several)).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"0123456789"[..]), "{several}");
    }
    let head = send(client.head(&url).header(header::RANGE, "bytes=2-3")).await;
    assert_eq!((head.status, head.header(header::CONTENT_LENGTH)), (200, "10"));
    assert_eq!((head.header(header::ETAG), head.body.len()), (etag, 0));
    assert_eq!(send(client.head(place.put_url(&key, None).await)).await.status, 403);

    let put = place.put_url(&key, None).await;
    let written = send(client.put(&put).body("other text")).await;
    assert_ne!(written.header(header::ETAG), etag);
    let second = send(client.get(&url).header(header::IF_NONE_MATCH, etag)).await;
    assert_eq!((second.status, second.header(header::ETAG)), (200, written.header(header::ETAG)));
    place.finish().await;
}

#[tokio::test]
async fn whatever_a_file_holds_it_does_not_act() {
    let place = Place::disk().await;
    let key = key("reports/Übersicht 1.html");
    place.store(&key, "<script>alert(1)</script>".repeat(100)).await;
    for (content_type, shown) in [
        (None, false),
        (Some("text/html"), false),
        (Some("image/svg+xml"), false),
        (Some("application/gpx+xml"), false),
        (Some("image/heic"), true),
        (Some("video/mp4; codecs=\"avc1\""), true),
    ] {
        let request = place.client.get(place.get_url(&key, content_type).await);
        let answer = send(request.header(header::ACCEPT_ENCODING, "gzip, zstd")).await;
        assert_eq!(answer.status, 200);
        let expected = content_type.unwrap_or("application/octet-stream");
        assert_eq!(answer.header(header::CONTENT_TYPE), expected);
        assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        let policy = answer.header(header::CONTENT_SECURITY_POLICY);
        assert_eq!(policy, "default-src 'none'; sandbox");
        assert_eq!(answer.header(header::CONTENT_ENCODING), "", "it is sent as it is");
        let disposition = match shown {
            true => "",
            false => "attachment; filename*=UTF-8''%C3%9Cbersicht%201%2Ehtml",
        };
        assert_eq!(answer.header(header::CONTENT_DISPOSITION), disposition);
    }
    for bad in ["", "html", "text/html\r\nX-Evil: 1", "text/ä"] {
        let error = place.files.download_url("", &key, Some(bad), HOUR).await.expect_err(bad);
        assert_eq!(error.code, Code::BadUserInput);
        let error = place.files.upload_url("", &key, Some(bad), HOUR).await.expect_err(bad);
        assert_eq!(error.code, Code::BadUserInput);
    }
    place.finish().await;
}

/// Opens a connection and sends the head of a PUT, with a line that says how the body comes.
async fn begin_put(place: &Place, url: &str, line: &str) -> TcpStream {
    let address = place.base().strip_prefix("http://").expect("a URL");
    let path = url.strip_prefix(place.base()).expect("a URL of the server");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{line}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    stream
}

async fn answer_of(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers and closes");
    answer
}

#[tokio::test]
async fn an_interrupted_upload_leaves_nothing_and_can_be_started_again() {
    let place = Place::disk().await;
    let folder = place.app.as_ref().expect("a server").files.path();
    let (fresh, known) = (key("fresh.jpg"), key("known.jpg"));
    place.store(&known, "old").await;
    let before = files_in(folder);
    for (key, line) in [
        (&fresh, "Content-Length: 2000000"),
        (&known, "Content-Length: 2000000"),
        (&known, "Transfer-Encoding: chunked"),
        (&known, "Content-Encoding: gzip\r\nContent-Length: 2000000"),
    ] {
        let url = place.put_url(key, None).await;
        let mut stream = begin_put(&place, &url, line).await;
        let mut body = noise(1_000_000);
        if line.contains("chunked") {
            body.splice(0..0, *b"f4240\r\n");
        } else if line.contains("gzip") {
            body = gzip(&body);
        }
        stream.write_all(&body).await.expect("it reads");
        // It is being written, beside what is there.
        wait_until(|| files_in(folder).values().sum::<u64>() > 500_000).await;
        assert_eq!(place.get(&known).await.body, b"old");
        assert_eq!(place.files.head(&fresh).await, Ok(None));
        let listed: Vec<_> = place.files.list(key.account()).try_collect().await.expect("a list");
        assert_eq!(listed.len(), 1, "{listed:?}");
        drop(stream);
        wait_until(|| files_in(folder) == before).await;
        assert_eq!(place.get(&known).await.body, b"old");
        assert_eq!(place.files.head(&fresh).await, Ok(None));
    }
    for key in [&fresh, &known] {
        place.store(key, "new").await;
        assert_eq!(place.get(key).await.body, b"new");
    }
    assert_eq!(files_in(folder).len(), 2);
    place.finish().await;
}

async fn wait_until(mut done: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never happened");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

#[tokio::test]
async fn a_reader_sees_the_old_file_or_the_new_one_and_no_mixture() {
    let place = Place::disk().await;
    let (key, old) = (key("large.jpg"), noise(8_000_000));
    place.store(&key, old.clone()).await;
    let url = place.get_url(&key, None).await;
    let mut reading = place.client.get(&url).send().await.expect("the server answers");
    let mut seen = reading.chunk().await.expect("it comes").expect("a piece").to_vec();
    let new = vec![7; 8_000_001];
    place.store(&key, new.clone()).await;
    assert!(place.get(&key).await.body == new);
    while let Some(piece) = reading.chunk().await.expect("it comes") {
        seen.extend_from_slice(&piece);
    }
    assert!(seen == old);

    // Two at once: one of them is last.
    let other = vec![8; 8_000_001];
    tokio::join!(place.store(&key, new.clone()), place.store(&key, other.clone()));
    let last = place.get(&key).await.body;
    assert!(last == new || last == other);
    let folder = place.app.as_ref().expect("a server").files.path();
    assert_eq!(files_in(folder).into_values().collect::<Vec<_>>(), [8_000_001]);
    place.finish().await;
}

#[tokio::test]
async fn an_upload_may_be_slow_but_must_go_on() {
    let place = Place::disk_with(&["--request-timeout", "1"]).await;
    let folder = place.app.as_ref().expect("a server").files.path();
    let key = key("slow.jpg");
    let url = place.put_url(&key, None).await;
    let mut stream = begin_put(&place, &url, "Content-Length: 8").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.write_all(b"x").await.expect("it reads");
    }
    let answer = answer_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(place.get(&key).await.body, b"xxxxxxxx");

    let mut stream = begin_put(&place, &url, "Content-Length: 8").await;
    stream.write_all(b"yyyy").await.expect("it reads");
    let answer = answer_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("BAD_USER_INPUT"), "{answer}");
    assert_eq!(place.get(&key).await.body, b"xxxxxxxx");
    wait_until(|| files_in(folder).len() == 1).await;
    place.finish().await;
}

#[tokio::test]
async fn uploads_come_in_all_forms_of_http() {
    let place = Place::disk().await;
    let key = key("forms.jpg");
    let url = place.put_url(&key, Some("text/plain; charset=utf-8")).await;

    // More than a request of GraphQL may have, in pieces.
    let bytes = noise(20_000_000);
    let pieces: Vec<_> =
        bytes.chunks(700_001).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let answer = send(place.put(&url, "Text/Plain;charset=UTF-8", stream)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(place.get(&key).await.body == bytes);

    // Packed on the way only.
    let text = "a text that repeats itself; ".repeat(50_000);
    let packed = place.put(&url, "text/plain; charset=utf-8", gzip(text.as_bytes()));
    assert_eq!(send(packed.header(header::CONTENT_ENCODING, "gzip")).await.status, 200);
    assert!(place.get(&key).await.body == text.as_bytes());
    let strange = place.put(&url, "text/plain; charset=utf-8", "x");
    let answer = send(strange.header(header::CONTENT_ENCODING, "strange")).await;
    assert_eq!(answer.status, 415);
    let torn = place.put(&url, "text/plain; charset=utf-8", "no gzip at all");
    let answer = send(torn.header(header::CONTENT_ENCODING, "gzip")).await;
    assert_eq!((answer.status, answer.code()), (400, json!("BAD_USER_INPUT")));

    // Asked before it sends.
    let url = place.put_url(&key, None).await;
    let expect = "Expect: 100-continue\r\nContent-Length:";
    let mut stream = begin_put(&place, &url, &format!("{expect} 5")).await;
    let mut asked = [0; 64];
    let read = stream.read(&mut asked).await.expect("it answers");
    assert!(asked[..read].starts_with(b"HTTP/1.1 100"), "{:?}", &asked[..read]);
    stream.write_all(b"12345").await.expect("it reads");
    let answer = answer_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(place.get(&key).await.body, b"12345");

    // Refused before it sends.
    for (url, line, status, code) in [
        (url.clone(), format!("{expect} 2147483649"), "413", "LIMIT"),
        (url.clone(), "Content-Length: 2147483649".to_owned(), "413", "LIMIT"),
        (url.replace("forms", "other"), format!("{expect} 5"), "403", "FORBIDDEN"),
    ] {
        let mut stream = begin_put(&place, &url, &line).await;
        if !line.contains("Expect") {
            stream.shutdown().await.expect("nothing more is sent");
        }
        let answer = answer_of(stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(code), "{answer}");
    }
    // Refused while it sends: the answer is heard.
    let refused =
        place.put(&url.replace("forms", "other"), "image/jpeg", bytes[..9_000_000].to_vec());
    let answer = send(refused).await;
    assert_eq!((answer.status, answer.code()), (403, json!("FORBIDDEN")));
    assert_eq!(place.get(&key).await.body, b"12345");
    place.finish().await;
}

#[tokio::test]
async fn g18_odd_addresses_are_refused() {
    let place = Place::disk().await;
    let good = place.get_url(&key("a.jpg"), None).await;
    let (good, query) = good.split_once('?').expect("a query");
    let account = good.strip_suffix("/a.jpg").expect("a path");
    let long = "x".repeat(30_000);
    let mut urls: Vec<String> = vec![format!("{}/files/", place.base())];
    for path in ["", "a", "not-an-account/a", "%", "%zz/a", "%ff%fe", "%00", "//", "{x}/a"] {
        urls.push(format!("{}/files/{path}?{query}", place.base()));
    }
    for name in [
        "",
        "%",
        "%zz",
        "%00",
        "a%00b",
        "%ff",
        "%c3",
        "%0d%0aX:1",
        "a//b",
        "a/",
        "%5c",
        "..%2fa",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        ".%2f",
        "a%2f..%2fb",
        "%2f",
        &long,
        "a.jpg%20",
    ] {
        urls.push(format!("{account}/{name}?{query}"));
    }
    for query in [
        "",
        "expires=",
        "expires=-1",
        "expires=x",
        "expires=99999999999999999999",
        "signature=%ff",
        "signature=%00&expires=9999999999",
        "type=%00%0d%0a&signature=x",
        "&&&==",
        "%ff%zz",
        &format!("{query}&expires=1"),
        &format!("{query}&type=text/html"),
        &long,
    ] {
        urls.push(format!("{good}?{query}"));
    }
    for url in urls {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE] {
            let answer = send(place.client.request(method.clone(), &url).body("x")).await;
            assert!(matches!(answer.status, 400 | 403 | 404 | 405), "{method} {url}: {answer:?}");
            if matches!(answer.status, 400 | 403) && method != Method::HEAD {
                let code = answer.code();
                assert!(code == "BAD_USER_INPUT" || code == "FORBIDDEN", "{url}: {code}");
            }
        }
    }
    let folder = place.app.as_ref().expect("a server").files.path();
    assert_eq!(files_in(folder), BTreeMap::new());
    place.finish().await;
}

#[tokio::test]
async fn a_server_with_an_s3_store_carries_no_files_itself() {
    let s3 = S3::start().await;
    let arguments = s3.arguments("");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let app = App::start_with(Backend::Sqlite, &arguments).await;
    let local = app.file_store().await;
    let put = local.upload_url(&app.url, &key("a"), None, HOUR).await.expect("a URL");
    let answer = send(app.client.put(&put).body("x")).await;
    assert_eq!((answer.status, answer.code()), (404, json!("NOT_FOUND")));
    let get = local.download_url(&app.url, &key("a"), None, HOUR).await.expect("a URL");
    assert_eq!(send(app.client.get(&get)).await.status, 404);
    app.finish().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable() {
    let s3 = S3::start().await;
    let files = s3.file_store("");
    drop(s3);
    let started = std::time::Instant::now();
    let error = files.head(&key("a")).await.expect_err("nobody answers");
    assert_eq!(error.code, Code::Unavailable);
    assert!(!error.message.contains("127.0.0.1"), "{}", error.message);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_verifier_of_these_tests_agrees_with_the_published_example() {
    // From the documentation that support/sigv4.rs names.
    let url = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    assert!(Presigned::parse(url).is_right("GET", &[], secret));
    assert!(!Presigned::parse(url).is_right("PUT", &[], secret));
    assert!(!Presigned::parse(&url.replace("86400", "86401")).is_right("GET", &[], secret));
    assert!(!Presigned::parse(url).is_right("GET", &[], "another"));
}

#[tokio::test]
async fn presigned_urls_are_what_amazon_describes() {
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let amazon = [
        "--files-url=s3://examplebucket/some/prefix",
        "--aws-region=eu-west-3",
        "--aws-access-key-id=AKIAIOSFODNN7EXAMPLE",
        "--aws-secret-access-key",
        secret,
    ];
    let own = "--aws-endpoint-url=https://files.example.org:9000";
    let virtual_host = [
        "--aws-endpoint-url=https://examplebucket.files.example.org",
        "--aws-virtual-hosted-style-request",
    ];
    let key = key("a b/Grüße+50%.jpg");
    let object =
        "some/prefix/00000000-0000-0000-0000-000000000ada/a%20b/Gr%C3%BC%C3%9Fe%2B50%25.jpg";
    for (more, host, path) in [
        (&[][..], "s3.eu-west-3.amazonaws.com", format!("/examplebucket/{object}")),
        (&[own], "files.example.org:9000", format!("/examplebucket/{object}")),
        (&virtual_host, "examplebucket.files.example.org", format!("/{object}")),
    ] {
        let files = open_files(&[&amazon, more].concat(), b"").expect("good settings");
        let minutes = Duration::from_secs(900);
        let put = files.upload_url("", &key, Some("image/jpeg"), minutes).await.expect("a URL");
        let put = Presigned::parse(&put);
        assert_eq!((put.host.as_str(), put.path.as_str()), (host, path.as_str()));
        assert_eq!(put.get("X-Amz-Expires"), "900");
        assert_eq!(put.get("X-Amz-SignedHeaders"), "content-type;host");
        assert!(put.get("X-Amz-Credential").ends_with("/eu-west-3/s3/aws4_request"));
        assert!(put.is_right("PUT", &[("Content-Type", "image/jpeg")], secret));
        assert!(!put.is_right("PUT", &[("Content-Type", "image/png")], secret));
        assert!(!put.is_right("PUT", &[], secret));
        assert!(!put.is_right("GET", &[("Content-Type", "image/jpeg")], secret));

        let free = files.upload_url("", &key, None, minutes).await.expect("a URL");
        assert!(Presigned::parse(&free).is_right("PUT", &[], secret));
        let type_of_gpx = Some("application/gpx+xml");
        let get = files.download_url("", &key, type_of_gpx, minutes).await.expect("a URL");
        let get = Presigned::parse(&get);
        assert!(get.is_right("GET", &[], secret));
        assert_eq!(get.get("response-content-type"), "application/gpx+xml");
        assert_eq!(get.get("response-content-disposition"), "attachment");
        let long = files.download_url("", &key, Some("image/png"), HOUR * 9_999).await;
        let long = Presigned::parse(&long.expect("a URL"));
        assert_eq!(long.get("X-Amz-Expires"), "604800");
        assert!(long.query.iter().all(|(name, _)| name != "response-content-disposition"));
    }
}

#[test]
fn settings_of_the_store_that_make_no_sense_are_told_at_the_start() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let file = file.path().to_str().expect("text");
    let plain = ["--files-url=s3://photos", "--aws-endpoint-url=http://127.0.0.1:9000"];
    for (arguments, told) in [
        (&["--files-dir", file][..], "FILES_DIR"),
        (&["--files-url", "https://example.org/photos"], "FILES_URL"),
        (&["--files-url", "s3://"], "FILES_URL"),
        (&plain, "AWS_ALLOW_HTTP"),
    ] {
        let problem = open_files(arguments, b"").err().expect("a problem");
        assert!(problem.contains(told), "{problem}");
    }
    assert!(open_files(&[&plain[..], &["--aws-allow-http"]].concat(), b"").is_ok());
}
