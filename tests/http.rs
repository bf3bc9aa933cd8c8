//! `/graphql` and its neighbours, as HTTP clients see them.

use std::io::Write;

use reqwest::header::{self, HeaderMap};
use reqwest::{Method, RequestBuilder};
use sea_orm::ConnectionTrait;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Backend, Process, TestDatabase, ask, create};

const JSON: &str = "application/json";
const GRAPHQL: &str = "application/graphql-response+json";

/// Status, headers and the JSON body, if it is one.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn media_type(&self) -> &str {
        let value = self.headers.get(header::CONTENT_TYPE).map(|value| value.to_str());
        value.transpose().expect("text").unwrap_or_default().split(';').next().unwrap_or_default()
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    fn code(&self) -> Json {
        self.json()["errors"][0]["extensions"]["code"].clone()
    }
}

async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the server answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("the body is text") }
}

fn post(app: &App) -> RequestBuilder {
    app.client.post(format!("{}/graphql", app.url)).header(header::CONTENT_TYPE, JSON)
}

fn query(app: &App, query: &str) -> RequestBuilder {
    post(app).body(json!({ "query": query }).to_string())
}

fn get(app: &App, path: &str) -> RequestBuilder {
    app.client.get(format!("{}{path}", app.url))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

async fn started(arguments: &[&str]) -> App {
    App::start_with(Backend::Sqlite, arguments).await
}

#[tokio::test]
async fn the_answer_has_the_media_type_that_the_client_asks_for() {
    let app = started(&[]).await;
    let apollo =
        "multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json";
    for (accept, expected) in [
        (None, Some(JSON)),
        (Some("*/*"), Some(JSON)),
        (Some("application/*"), Some(JSON)),
        (Some(JSON), Some(JSON)),
        (Some("Application/JSON; charset=utf-8"), Some(JSON)),
        (Some(GRAPHQL), Some(GRAPHQL)),
        (Some("application/graphql-response+json, application/json;q=0.9"), Some(GRAPHQL)),
        (Some("application/json;q=0.5, application/graphql-response+json"), Some(GRAPHQL)),
        (Some("application/graphql-response+json;q=0, application/json"), Some(JSON)),
        (Some("*/*;q=0.1, application/graphql-response+json;q=0.2"), Some(GRAPHQL)),
        (Some(apollo), Some(GRAPHQL)),
        (Some("text/html"), None),
        (Some("text/html, application/xml;q=0.9"), None),
        (Some("multipart/mixed"), None),
        (Some("application/json;q=0"), None),
    ] {
        for request in [query(&app, "{ hello }"), get(&app, "/graphql?query=%7Bhello%7D")] {
            let request = match accept {
                Some(accept) => request.header(header::ACCEPT, accept),
                None => request,
            };
            let answer = send(request).await;
            match expected {
                Some(expected) => {
                    assert_eq!((answer.status, answer.media_type()), (200, expected), "{accept:?}");
                    assert_eq!(answer.json()["data"]["hello"], "Hello from Cairn");
                }
                None => {
                    assert_eq!((answer.status, answer.media_type()), (406, JSON), "{accept:?}");
                    assert_eq!(answer.code(), "BAD_USER_INPUT");
                }
            }
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn a_request_is_json_in_utf_8_or_refused() {
    let app = started(&[]).await;
    for (content_type, status) in [
        (None, 415),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("application/json; charset=latin1"), 415),
        (Some("application/jsonx"), 415),
        (Some("application/json"), 200),
        (Some("APPLICATION/JSON;charset=\"UTF-8\""), 200),
        (Some("application/json; charset=utf-8"), 200),
    ] {
        let request =
            app.client.post(format!("{}/graphql", app.url)).body(r#"{"query":"{hello}"}"#);
        let request = match content_type {
            Some(content_type) => request.header(header::CONTENT_TYPE, content_type),
            None => request,
        };
        let answer = send(request).await;
        assert_eq!(answer.status, status, "{content_type:?}");
        if status == 415 {
            assert_eq!(answer.code(), "BAD_USER_INPUT", "{content_type:?}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn the_status_tells_whether_the_request_could_be_executed() {
    let app = started(&[]).await;
    // The body; the status for graphql-response+json, and for clients that know JSON alone.
    for (body, graphql, json) in [
        (r#"{"query": "{ hello }"}"#, 200, 200),
        (
            r#"{"query": "{ hello }", "variables": null, "operationName": null, "extensions": null}"#,
            200,
            200,
        ),
        (r#"{"query": "query A { hello } query B { hello }", "operationName": "B"}"#, 200, 200),
        // Executed, and the field failed.
        (r#"{"query": "{ getCurrentUser { id } }"}"#, 200, 200),
        (r#"{"query": "mutation { logout }"}"#, 200, 200),
        // Well-formed, but not to be executed.
        (r#"{"query": "{ hello"}"#, 400, 200),
        (r#"{"query": "{ nothing }"}"#, 400, 200),
        (r#"{"query": "query($a: Int) { hello }"}"#, 400, 200),
        (r#"{"query": "query A { hello } query B { hello }"}"#, 400, 200),
        (r#"{"query": "query A { hello }", "operationName": "B"}"#, 400, 200),
        // Not well-formed.
        (r#"{"query": "{ hello }""#, 400, 400),
        (r#"["{ hello }"]"#, 400, 400),
        (r#"[{"query": "{ hello }"}]"#, 400, 400),
        (r#"{"query": 5}"#, 400, 400),
        (r#"{"query": null}"#, 400, 400),
        (r#"{"query": "{ hello }", "variables": "x"}"#, 400, 400),
        (r#"{"query": "{ hello }", "variables": []}"#, 400, 400),
        (r#"{"query": "{ hello }", "operationName": 5}"#, 400, 400),
        (r#"{}"#, 400, 400),
        (r#"{"id": "persisted"}"#, 400, 400),
        ("", 400, 400),
    ] {
        for (media, status) in [(GRAPHQL, graphql), (JSON, json)] {
            let answer = send(post(&app).header(header::ACCEPT, media).body(body)).await;
            assert_eq!((answer.status, answer.media_type()), (status, media), "{body}");
            let answer = answer.json();
            if !answer["errors"].is_null() {
                assert!(answer["errors"][0]["extensions"]["code"].is_string(), "{answer}");
            }
            if graphql == 400 {
                assert!(answer["data"].is_null() && answer["errors"].is_array(), "{answer}");
            }
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn queries_can_be_sent_by_get_and_mutations_cannot() {
    let app = started(&[]).await;
    let device = app.device_of("ada").await;
    let by_get = |parameters: &[(&str, &str)]| get(&app, "/graphql").query(parameters);
    let two = "query A { a: hello } query B($s: Boolean!) { b: hello @skip(if: $s) c: hello }";
    let answer = send(by_get(&[("query", two), ("operationName", "A")])).await;
    assert_eq!(answer.json(), json!({ "data": { "a": "Hello from Cairn" } }));
    let answer = send(by_get(&[
        ("query", two),
        ("operationName", "B"),
        ("variables", r#"{"s":true}"#),
        ("extensions", "{}"),
    ]))
    .await;
    assert_eq!(answer.json(), json!({ "data": { "c": "Hello from Cairn" } }));
    let logout = "mutation { logout(everywhere: true) }";
    let both = format!("query A {{ hello }} {}", logout.replacen(' ', " B ", 1));
    for parameters in [vec![("query", logout)], vec![("query", &*both), ("operationName", "B")]] {
        for media in [GRAPHQL, JSON] {
            let request = by_get(&parameters).bearer_auth(&device.token);
            let answer = send(request.header(header::ACCEPT, media)).await;
            assert_eq!((answer.status, answer.code()), (405, json!("BAD_USER_INPUT")));
            assert_eq!(answer.headers[header::ALLOW], "POST");
        }
    }
    assert_eq!(device.ask("{ devices { id } }", json!({})).await["data"]["devices"], json!([]));
    for parameters in
        [vec![], vec![("operationName", "A")], vec![("query", "{ hello }"), ("variables", "[1]")]]
    {
        let answer = send(by_get(&parameters)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, json!("BAD_USER_INPUT")),
            "{parameters:?}"
        );
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = send(app.client.request(method, format!("{}/graphql", app.url))).await;
        assert_eq!(answer.status, 405);
        assert!(answer.headers.contains_key(header::ALLOW));
    }
    assert_eq!(send(get(&app, "/nowhere")).await.status, 404);
    app.finish().await;
}

#[tokio::test]
async fn a_body_is_bounded_packed_or_not() {
    let app = started(&[]).await;
    let good = br#"{"query": "{ hello }"}"#;
    let packed = |bytes: Vec<u8>| post(&app).header(header::CONTENT_ENCODING, "gzip").body(bytes);
    let answer = send(packed(gzip(good))).await;
    assert_eq!(answer.json()["data"]["hello"], "Hello from Cairn");

    let limit = cairn::config::limits::BODY;
    let padded = |size: usize| [good.as_slice(), &vec![b' '; size - good.len()]].concat();
    assert_eq!(send(post(&app).body(padded(limit))).await.status, 200);
    let bomb = gzip(&padded(limit + 1));
    assert!(bomb.len() < 100_000, "it is small: {}", bomb.len());
    for request in [post(&app).body(padded(limit + 1)), packed(bomb)] {
        let answer = send(request).await;
        assert_eq!((answer.status, answer.code()), (413, json!("LIMIT")));
    }
    let mut torn = gzip(good);
    torn.truncate(torn.len() / 2);
    for garbage in [torn, b"no gzip".to_vec()] {
        let answer = send(packed(garbage)).await;
        assert_eq!((answer.status, answer.code()), (400, json!("BAD_USER_INPUT")));
    }
    let unknown = post(&app).header(header::CONTENT_ENCODING, "compress").body(good.to_vec());
    assert_eq!(send(unknown).await.status, 415);
    app.finish().await;
}

#[tokio::test]
async fn large_answers_are_packed_for_clients_that_can_unpack() {
    let app = started(&[]).await;
    let large = "{ __schema { types { name description fields { name description } } } }";
    let plain = send(query(&app, large)).await.text;
    for (encoding, magic) in [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd])] {
        let request = query(&app, large).header(header::ACCEPT_ENCODING, encoding);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.headers()[header::CONTENT_ENCODING], encoding);
        let bytes = response.bytes().await.expect("a body");
        assert!(bytes.starts_with(magic) && bytes.len() < plain.len() / 2);
    }
    app.finish().await;
}

#[tokio::test]
async fn playground_and_introspection_can_be_turned_off() {
    let introspection = "{ __schema { queryType { name } } }";
    let on = started(&[]).await;
    let page = send(get(&on, "/")).await;
    assert_eq!((page.status, page.media_type()), (200, "text/html"));
    assert!(page.text.contains("/graphql"));
    let answer = send(query(&on, introspection)).await.json();
    assert_eq!(answer["data"]["__schema"]["queryType"]["name"], "Query");
    on.finish().await;

    let off = started(&["--playground", "false"]).await;
    assert_eq!(send(get(&off, "/")).await.status, 404);
    for hidden in [introspection, "{ __type(name: \"Trip\") { name } }"] {
        let answer = send(query(&off, hidden)).await;
        let fields = answer.json()["data"].as_object().cloned().unwrap_or_default();
        assert!(fields.values().all(Json::is_null), "{}", answer.text);
    }
    assert_eq!(send(query(&off, "{ hello }")).await.json()["data"]["hello"], "Hello from Cairn");
    off.finish().await;
}

#[tokio::test]
async fn browsers_of_other_origins_are_let_in_by_setting_alone() {
    let origin = "https://app.example.org";
    let preflight = |app: &App, origin: &str| {
        app.client
            .request(Method::OPTIONS, format!("{}/graphql", app.url))
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
    };
    let allowed =
        |answer: &Answer| answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
    let closed = started(&[]).await;
    assert_eq!(allowed(&send(preflight(&closed, origin)).await), None);
    let request = query(&closed, "{ hello }").header(header::ORIGIN, origin);
    assert_eq!(allowed(&send(request).await), None);
    closed.finish().await;

    let open =
        started(&["--cors-origins", "https://other.example.org,https://app.example.org"]).await;
    let answer = send(preflight(&open, origin)).await;
    assert_eq!(allowed(&answer).expect("allowed"), origin);
    let names = answer.headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().expect("text");
    assert!(names.contains("authorization") && names.contains("content-type"), "{names}");
    let request = query(&open, "{ hello }").header(header::ORIGIN, origin);
    assert_eq!(allowed(&send(request).await).expect("allowed"), origin);
    assert_eq!(allowed(&send(preflight(&open, "https://evil.example.org")).await), None);
    open.finish().await;
}

#[tokio::test]
async fn every_answer_carries_the_id_of_its_request() {
    let app = started(&[]).await;
    let id = |answer: &Answer| answer.headers["x-request-id"].to_str().expect("text").to_owned();
    let kept = send(query(&app, "{ hello }").header("x-request-id", "proxy-7.a_B")).await;
    assert_eq!(id(&kept), "proxy-7.a_B");
    let long = "x".repeat(65);
    for bad in ["", "with space", "new\tline", long.as_str(), "é"] {
        let answer = send(query(&app, "{ hello }").header("x-request-id", bad)).await;
        assert!(Uuid::try_parse(&id(&answer)).is_ok(), "{bad}");
    }
    let [one, other] = [send(get(&app, "/healthz")).await, send(get(&app, "/nowhere")).await];
    assert!(Uuid::try_parse(&id(&one)).is_ok() && id(&one) != id(&other));
    app.finish().await;
}

both! {
    async fn health_and_readiness_are_told(app: &App) {
        for path in ["/healthz", "/readyz"] {
            let answer = send(get(app, path)).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, "ok"), "{path}");
        }
    }
}

/// A connection to the server's PostgreSQL that is not to the test's own database, and the name of
/// that one.
async fn beside(app: &App) -> (cairn::db::Db, String) {
    let url = &app.database.url;
    let (server, rest) = url.rsplit_once("/test_").expect("the URL of a test's database");
    let (number, place) = rest.split_once('?').expect("the socket's place");
    let db = cairn::db::Db::connect(&format!("{server}/postgres?{place}")).await;
    (db.expect("PostgreSQL answers"), format!("test_{number}"))
}

#[tokio::test]
async fn a_server_without_its_database_is_alive_but_not_ready_and_recovers() {
    let app = App::start(Backend::Postgres).await;
    let device = app.device_of("ada").await;
    let (beside, name) = beside(&app).await;
    let run = async |sql: String| {
        beside.pool().execute_unprepared(&sql).await.expect("PostgreSQL obeys");
    };
    run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    run(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        .await;
    assert_eq!(send(get(&app, "/readyz")).await.status, 503);
    assert_eq!(send(get(&app, "/healthz")).await.status, 200);
    let answer = send(query(&app, "{ devices { id } }").bearer_auth(&device.token)).await;
    assert_eq!((answer.status, answer.code()), (503, json!("UNAVAILABLE")), "{}", answer.text);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    assert_eq!(send(get(&app, "/readyz")).await.status, 200);
    device.trip("Alps").await;
    beside.close().await.expect("the connection closes");
    app.finish().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up_and_writes_nothing() {
    for backend in Backend::ALL {
        let app = App::start_with(backend, &["--request-timeout", "2"]).await;
        let device = app.device_of("ada").await;
        // Every push waits for the scope of its account.
        let lock = app.db().begin_write().await.expect("a transaction");
        let touch = format!(
            "UPDATE scope SET head = head WHERE id = {}",
            match backend {
                Backend::Postgres => format!("'{}'", device.account().await),
                Backend::Sqlite => format!("x'{}'", device.account().await.simple()),
            }
        );
        lock.execute_unprepared(&touch).await.expect("the lock is free");
        let (list, item) = create("Tag", Uuid::new_v4(), json!({ "name": "late" }));
        let push =
            "mutation($input: BulkSyncInput!) { bulkSync(input: $input) { processedCount } }";
        let body = json!({ "query": push, "variables": { "input": { list: [item] } } });
        let answer = send(post(&app).bearer_auth(&device.token).body(body.to_string())).await;
        assert_eq!((answer.status, answer.code()), (503, json!("UNAVAILABLE")), "{}", answer.text);
        assert!(answer.text.contains("took too long"), "{}", answer.text);
        assert!(answer.headers.contains_key(header::RETRY_AFTER));
        lock.rollback().await.expect("the lock is given back");
        device.tag("in time").await;
        let rows = device.fresh_rows().await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        app.finish().await;
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let app = started(&["--request-timeout", "1"]).await;
    let address = app.url.strip_prefix("http://").expect("a URL");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers and closes");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("BAD_USER_INPUT"), "{answer}");
    app.finish().await;
}

/// The settings of a process on a database of its own.
fn settings(database: &TestDatabase) -> [(&str, &str); 1] {
    [("DATABASE_URL", &database.url)]
}

#[tokio::test]
async fn logs_hold_no_secret_and_no_content() {
    const SECRET: &str = "signed-with-a-secret-of-32-bytes-or-more";
    for backend in Backend::ALL {
        let database = TestDatabase::create(backend).await;
        let all =
            [&settings(&database)[..], &[("RUST_LOG", "debug"), ("JWT_SECRET", SECRET)]].concat();
        let (process, url) = Process::serve(&all).await;
        let client = crate::support::client();
        let person = json!({ "email": "ada@private.example", "password": "Pa55phrase-of-ada" });
        let call = async |token: Option<&str>, query: &str, input: &Json| {
            ask(&client, &url, token, query, json!({ "input": input })).await
        };
        let register = "mutation($input: UserInput!) { register(input: $input) { id } }";
        call(None, register, &person).await;
        call(None, register, &person).await;
        let login = "mutation($input: UserInput!) { login(input: $input) { token } }";
        let wrong = json!({ "email": "ada@private.example", "password": "Wr0ngphrase" });
        call(None, login, &wrong).await;
        let answer = call(None, login, &person).await;
        let token = answer["data"]["login"]["token"].as_str().expect("a token");
        let push = "mutation($input: BulkSyncInput!) { bulkSync(input: $input) { processedCount failed { error } } }";
        for name in ["Hidden-name", "Hidden-\u{0}name"] {
            let (list, item) = create("Tag", Uuid::new_v4(), json!({ "name": name }));
            call(Some(token), push, &json!({ list: [item] })).await;
        }
        call(Some(token), push, &json!({ "tags": [{ "name": "Hidden-type", "operation": 5 }] }))
            .await;
        call(Some(token), "{ hello Hidden-document }", &json!("Hidden-variable")).await;
        call(Some(&format!("{token}x")), "{ hello }", &json!(1)).await;
        let pull = "{ enhancedSync(cursor: \"Hidden-cursor\") { nextCursor } }";
        call(Some(token), pull, &json!(1)).await;
        let by_get =
            format!("{url}/graphql?query=%7Bhello%7D&variables=%7B%22Hidden-url%22%3A1%7D");
        client.get(by_get).bearer_auth(token).send().await.expect("the server answers");
        let file = format!("{url}/files/{}/Hidden-file?signature=Hidden-signature", Uuid::nil());
        client.get(file).send().await.expect("the server answers");
        process.terminate();
        let (status, log) = process.ended().await;
        assert!(status.success());
        assert!(log.matches("answered").count() >= 12, "requests are logged: {log}");
        for secret in
            ["ada@private", "Pa55phrase", "Wr0ngphrase", token, SECRET, "Hidden", "$argon2"]
        {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "the log tells {secret}");
        }
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }
}

#[tokio::test]
async fn sigterm_lets_a_push_finish_and_then_ends_the_process() {
    for backend in Backend::ALL {
        let database = TestDatabase::create(backend).await;
        let (mut process, url) = Process::serve(&settings(&database)).await;
        let client = crate::support::client();
        let input = json!({ "input": { "email": "ada@example.org", "password": "correct horse" } });
        let register = "mutation($input: UserInput!) { register(input: $input) { id } }";
        ask(&client, &url, None, register, input.clone()).await;
        let login = "mutation($input: UserInput!) { login(input: $input) { token } }";
        let answer = ask(&client, &url, None, login, input).await;
        let token = answer["data"]["login"]["token"].as_str().expect("a token");

        // In flight: its head is read, and the server says that it waits for the body.
        let (list, item) = create("Tag", Uuid::new_v4(), json!({ "name": "in flight" }));
        let push = "mutation($input: BulkSyncInput!) { bulkSync(input: $input) { successful { syncVersion } } }";
        let body = json!({ "query": push, "variables": { "input": { list: [item] } } }).to_string();
        let address = url.strip_prefix("http://").expect("a URL");
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).await.expect("it answers");
        assert!(answer[..read].starts_with(b"HTTP/1.1 100"), "{:?}", &answer[..read]);

        process.terminate();
        process.logged("stopping").await;
        stream.write_all(body.as_bytes()).await.expect("it still reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers and closes");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(r#"{"syncVersion":1}"#), "{answer}");
        let (status, log) = process.ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
    }
}
