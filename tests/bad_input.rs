//! G18: every input is answered. Whatever is sent, the answer is a typed error or a verdict, and
//! the server goes on.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Backend, Device, Pushed, create, delete, update};

const CODES: [&str; 8] = [
    "UNAUTHENTICATED",
    "FORBIDDEN",
    "NOT_FOUND",
    "BAD_USER_INPUT",
    "INVALID_CURSOR",
    "RESYNC_REQUIRED",
    "FILTER_CHANGED",
    "LIMIT",
];

/// What only a database, its driver or a panic would say.
const LEAKS: [&str; 9] =
    ["SELECT ", "INSERT ", "UPDATE ", "sqlx", "SQLSTATE", "sqlite", "postgres", "panicked", "0x00"];

/// Asserts that each error has a code that blames the request, and tells nothing of the inside.
fn check_typed(answer: &Json) {
    let fields = answer.as_object().unwrap_or_else(|| panic!("no object: {answer}"));
    assert!(fields.contains_key("data") || fields.contains_key("errors"), "{answer}");
    for error in answer["errors"].as_array().into_iter().flatten() {
        let code = error["extensions"]["code"].as_str().unwrap_or("none");
        assert!(CODES.contains(&code), "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(!LEAKS.iter().any(|leak| message.contains(leak)), "{error}");
    }
}

/// Sends these bytes as a request; gives its status and answer.
async fn send(device: &Device<'_>, body: impl Into<reqwest::Body>) -> (u16, Json) {
    let request = device
        .app
        .client
        .post(format!("{}/graphql", device.app.url))
        .header("content-type", "application/json")
        .header("accept", "application/graphql-response+json")
        .bearer_auth(&device.token)
        .body(body);
    let response = request.send().await.expect("the server answers");
    let status = response.status().as_u16();
    let answer = response.json().await.expect("the answer is JSON");
    check_typed(&answer);
    (status, answer)
}

/// The code of the first error of a document that is executed with these variables.
async fn refused(device: &Device<'_>, query: &str, variables: Json) -> String {
    let body = json!({ "query": query, "variables": variables }).to_string();
    let (_, answer) = send(device, body).await;
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none").to_owned()
}

/// The first error's message.
async fn message(device: &Device<'_>, input: Json) -> String {
    let answer = device.try_push(input, json!({})).await;
    check_typed(&answer);
    let message = answer["errors"][0]["message"].as_str();
    message.unwrap_or_else(|| panic!("it was taken: {answer}")).to_owned()
}

/// Whether the server still does what it is there for.
async fn goes_on(device: &Device<'_>) {
    let answer = device.app.ask(None, "{ hello }", json!({})).await;
    assert_eq!(answer["data"]["hello"], "Hello from Cairn");
    device.tag("good").await;
}

both! {
    async fn g18_bytes_that_are_no_request_are_refused(app: &App) {
        let device = app.device_of("ada").await;
        let hello = |variables: &str| format!(r#"{{"query":"{{ hello }}","variables":{variables}}}"#);
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        let mut garbage: Vec<Vec<u8>> = [
            "null", "true", "5", "\"{ hello }\"", "[]", "[null]", "{", "}", "{]", "\u{feff}{}", "\u{0}",
            r#"{"query"}"#, r#"{"query":["{ hello }"]}"#, r#"{"query":{"a":1}}"#,
            r#"{"query":"{ hello }","query":"{ hello }"}"#, r#"{"query":"{ hello }"} trailing"#,
            r#"{"query":"\ud800"}"#, r#"{"query":"{ hello }","extensions":[]}"#,
            "query { hello }", "--boundary\r\n", "<xml/>",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
        let variables = [
            r#"{"a":NaN}"#, r#"{"a":Infinity}"#, r#"{"a":-Infinity}"#, r#"{"a":1e999}"#,
            r#"{"a":01}"#, r#"{"a":"\ud800"}"#, r#"{"a":"\udc00x"}"#, r#"{"a":"\x"}"#, "{\"a\":\"\u{1}\"}",
            r#"{"a":tru}"#, r#"{"a":1,}"#, r#"{"a":}"#, "[1]", "\"a\"", "1",
        ];
        garbage.extend(variables.map(|variables| hello(variables).into_bytes()));
        garbage.extend([hello(&format!("{{\"a\":{}}}", nested(100_000))).into(), hello(&objects).into()]);
        garbage.extend([vec![0xff, 0xfe], vec![0x80; 1000], vec![b'{'; 100_000]]);
        garbage.push([br#"{"query":"{ hello }","operationName":""#.as_slice(), &[0xc3, 0x28], b"\"}"].concat());
        for body in garbage {
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            let (status, answer) = send(&device, body).await;
            assert_eq!(status, 400, "{shown}: {answer}");
            assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{shown}");
        }
        // Strange, but JSON.
        for variables in [format!("{{\"a\":{}}}", nested(100)), r#"{"a":"\u0000\ud834\udd1e"}"#.into()] {
            assert_eq!(send(&device, hello(&variables)).await.0, 200, "{variables}");
        }
        goes_on(&device).await;
    }

    async fn g18_a_wrong_type_or_name_is_a_request_error_that_names_the_path(app: &App) {
        let device = app.device_of("ada").await;
        let trip = device.trip("Alps").await;
        for (field, value, named) in [
            ("title", json!(5), "memories.1.title"),
            ("title", json!(["a"]), "memories.1.title"),
            ("title", json!({ "$serde_json::private::RawValue": "\"a\"" }), "memories.1.title"),
            ("content", json!(true), "memories.1.content"),
            ("latitude", json!("12"), "memories.1.latitude"),
            ("date", json!(1_700_000_000), "memories.1.date"),
            ("clientTimestamp", json!({}), "memories.1.clientTimestamp"),
            ("clientTimestamp", Json::Null, "memories.1.clientTimestamp"),
            ("operation", json!("UPSERT"), "memories.1.operation"),
            ("operation", json!("create"), "memories.1.operation"),
            ("operation", json!(1), "memories.1.operation"),
            ("operation", Json::Null, "memories.1.operation"),
            ("syncPriority", json!("URGENT"), "memories.1.syncPriority"),
            ("syncVersion", json!("1"), "memories.1.syncVersion"),
            ("syncVersion", json!(1.5), "memories.1.syncVersion"),
            ("syncVersion", Json::Null, "memories.1.syncVersion"),
            ("id", json!(true), "memories.1.id"),
            ("tagIds", json!([true]), "memories.1.tagIds.0"),
            ("tagIds", json!([null]), "memories.1.tagIds.0"),
            ("colour", json!("#fff"), "unknown field \"colour\""),
            ("$serde_json::private::RawValue", json!("{}"), "unknown field"),
        ] {
            let fields = json!({ "tripId": trip, "title": "Hut" });
            let (list, good) = create("Memory", Uuid::new_v4(), fields);
            let mut bad = good.clone();
            bad[field] = value.clone();
            let message = message(&device, json!({ list: [good, bad] })).await;
            assert!(message.contains(named), "{field} = {value}: {message}");
        }
        for (input, named) in [
            (json!(null), "input"),
            (json!(5), "BulkSyncInput"),
            (json!("x"), "BulkSyncInput"),
            (json!([[]]), "BulkSyncInput"),
            (json!({ "memories": 5 }), "memories"),
            (json!({ "memories": null }), "memories"),
            (json!({ "memories": [null] }), "memories.0"),
            (json!({ "memories": [5] }), "memories[0]"),
            (json!({ "memories": [[]] }), "memories[0]"),
            (json!({ "memories": [{}] }), "memories.0"),
            (json!({ "Memory": [] }), "Memory"),
            (json!({ "$serde_json::private::RawValue": "{\"trips\":[]}" }), "unknown field"),
            (json!({ "tags": [{ "$serde_json::private::RawValue": "{}" }] }), "tags.0"),
        ] {
            let message = message(&device, input.clone()).await;
            assert!(message.contains(named), "{input}: {message}");
        }
        let rows = device.fresh_rows().await;
        assert_eq!(rows.len(), 1, "nothing of it was written: {rows:?}");
        goes_on(&device).await;
    }

    async fn g18_a_malformed_value_fails_its_item_alone(app: &App) {
        let device = app.device_of("ada").await;
        let trip = device.trip("Alps").await;
        let long = "x".repeat(1_000_000);
        let bad = [
            ("id", json!("x")),
            ("id", json!("")),
            ("id", json!("00000000-0000-0000-0000-000000000000")),
            ("id", json!("123e4567-e89b-12d3-a456-42661417400g")),
            ("id", json!("123e4567e89b12d3a456426614174000")),
            ("id", json!("\u{0}\u{0}")),
            ("id", json!(long)),
            ("id", json!(5)),
            ("tripId", json!("x")),
            ("tripId", json!("\u{0}")),
            ("tripId", Json::Null),
            ("title", json!("")),
            ("title", json!("  ")),
            ("title", Json::Null),
            ("title", json!("x".repeat(256))),
            ("title", json!("a\nb")),
            ("title", json!("a\u{0}b")),
            ("title", json!("a\u{7f}b")),
            ("content", json!("x".repeat(65_537))),
            ("content", json!("a\u{0}b")),
            ("content", json!("a\u{1b}[0m")),
            ("latitude", json!(90.000_1)),
            ("latitude", json!(-1e308)),
            ("longitude", json!(181)),
            ("longitude", json!(u64::MAX)),
            ("date", json!("")),
            ("date", json!("yesterday")),
            ("date", json!("2026-02-30T00:00:00Z")),
            ("date", json!("2026-01-01")),
            ("date", json!("+12026-01-01T00:00:00Z")),
            ("date", json!("0000-01-01T00:00:00Z")),
            ("date", json!(long)),
            ("clientTimestamp", json!("now")),
            ("clientTimestamp", json!("10000-01-01T00:00:00Z")),
            ("tagIds", json!(["x"])),
            ("tagIds", json!(vec![Uuid::new_v4(); 501])),
            ("syncVersion", json!(-1)),
            ("syncVersion", json!(2_147_483_648_i64)),
            ("syncVersion", json!(i64::MIN)),
            ("operationId", json!("")),
            ("operationId", json!("~derived")),
            ("operationId", json!("x".repeat(129))),
            ("operationId", json!(long)),
            ("operationId", json!("a\nb")),
        ];
        let mut items = Vec::new();
        for (field, value) in &bad {
            let (_, mut item) = create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "Hut" }));
            item[field] = value.clone();
            items.push(item);
        }
        let good = Uuid::new_v4();
        items.push(create("Memory", good, json!({ "tripId": trip, "title": "Hut" })).1);
        // The same batch never fails twice for another reason.
        for round in 0..2 {
            let pushed = device.push(json!({ "memories": items })).await;
            let verdicts = pushed.verdicts();
            for (index, (field, value)) in bad.iter().enumerate() {
                let verdict = &verdicts[&("Memory".into(), index as u64)];
                assert_eq!(verdict, "failed VALIDATION", "{field} = {value:.60}");
            }
            for failed in &pushed.failed {
                let error = failed["error"].as_str().expect("a sentence");
                assert!(!LEAKS.iter().any(|leak| error.contains(leak)), "{error}");
                let index = failed["index"].as_u64().expect("an index") as usize;
                assert!(error.starts_with(bad[index].0), "{} {error}", bad[index].0);
                assert!(failed["entityId"].as_str().expect("an id").chars().count() <= 64);
            }
            assert_eq!(verdicts[&("Memory".into(), bad.len() as u64)], "ok 1", "round {round}");
        }
        assert_eq!(device.fresh_rows().await.len(), 2, "the trip and the good memory");
        for clock in ["9999-12-31T23:59:59.999Z", "2100-01-01T00:00:00Z"] {
            let ahead = create("Tag", Uuid::new_v4(), json!({ "name": "x", "clientTimestamp": clock }));
            assert_eq!(device.push_one(ahead).await, "failed CLOCK_SKEW");
        }
        for (item, verdict) in [
            (update("Memory", good, 0, json!({})), "failed VALIDATION"),
            (update("Memory", good, i64::from(i32::MAX), json!({})), "failed VERSION_AHEAD"),
            (delete("Memory", good, i64::from(i32::MAX) + 1), "failed VALIDATION"),
        ] {
            assert_eq!(device.push_one(item).await, verdict);
        }
        goes_on(&device).await;
    }

    async fn g18_a_nul_in_an_operation_id_fails_its_item_alone(app: &App) {
        let device = app.device_of("ada").await;
        let (list, good) = create("Tag", Uuid::new_v4(), json!({ "name": "good" }));
        let (_, bad) = create("Tag", Uuid::new_v4(), json!({ "name": "bad", "operationId": "a\u{0}b" }));
        let pushed = device.push(json!({ list: [good, bad] })).await;
        let verdicts: Vec<String> = pushed.verdicts().into_values().collect();
        assert_eq!(verdicts, ["ok 1", "failed VALIDATION"]);
        goes_on(&device).await;
    }

    async fn g18_cursors_of_all_sorts_are_refused_by_name(app: &App) {
        let (mut ada, mut bob) = (app.device_of("ada").await, app.device_of("bob").await);
        ada.tag("one").await;
        ada.pull().await;
        bob.pull().await;
        let own = ada.cursor.clone().expect("a cursor");
        let flipped = |at: usize| {
            let mut bytes = own.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).expect("ASCII")
        };
        let mut cursors = vec![
            String::new(), " ".into(), "x".into(), "AAAA".into(), "\u{0}".into(), "ünïcödé".into(),
            "A".repeat(1_000_000), format!("{own}="), format!("{own}A"), format!(" {own}"),
            own[..own.len() - 1].into(), own[..own.len() / 2].into(), own[..22].into(), own.repeat(2),
        ];
        cursors.extend((0..own.len()).step_by(7).map(flipped));
        let pull = "query($c: String) { enhancedSync(cursor: $c) { nextCursor } }";
        let push = "mutation($c: String) { bulkSync(input: {}, cursor: $c) { processedCount } }";
        for cursor in cursors {
            for document in [pull, push] {
                let code = refused(&ada, document, json!({ "c": cursor })).await;
                assert_eq!(code, "INVALID_CURSOR", "{cursor:.60}");
            }
        }
        for document in [pull, push] {
            assert_eq!(refused(&ada, document, json!({ "c": bob.cursor })).await, "RESYNC_REQUIRED");
            assert_eq!(refused(&ada, document, json!({ "c": 5 })).await, "BAD_USER_INPUT");
            assert_eq!(refused(&ada, document, json!({ "c": own })).await, "none");
        }
        goes_on(&ada).await;
    }

    async fn g18_an_omitted_variable_in_a_literal_leaves_the_field_and_null_clears_it(app: &App) {
        let mut device = app.device_of("ada").await;
        let trip = device.trip("Alps").await;
        let memory = device.memory(trip, "Hut").await;
        let edit = update("Memory", memory, 1, json!({ "content": "Snow" }));
        assert_eq!(device.push_one(edit).await, "ok 2");
        let push = |fields: &str, version: u32| {
            format!(
                "mutation($t: String, $c: String, $d: String = \"default\") {{
                    bulkSync(input: {{ memories: [{{
                        id: \"{memory}\", operation: UPDATE, syncVersion: {version},
                        clientTimestamp: \"2026-01-15T12:00:00.000Z\", {fields}
                    }}] }}) {{ successful {{ syncVersion }} failed {{ code error }} }}
                }}"
            )
        };
        let all = "title: $t, content: $c, address: $d";
        let run = async |query: String, variables: Json| {
            let answer = device.ask(&query, variables).await;
            assert!(answer["errors"].is_null(), "{answer}");
            answer["data"]["bulkSync"].clone()
        };
        let ok = |version: u32| json!({ "successful": [{ "syncVersion": version }], "failed": [] });
        // Neither is given: both fields stay, and the default is a value.
        assert_eq!(run(push(all, 2), json!({})).await, ok(3));
        assert_eq!(run(push(all, 3), json!({ "t": "Refuge" })).await, ok(4));
        let cleared = run(push(all, 4), json!({ "t": null })).await;
        assert_eq!(cleared["failed"][0]["code"], "VALIDATION", "{cleared}");
        device.pull().await;
        assert_eq!(device.field("Memory", memory, "title"), "Refuge");
        assert_eq!(device.field("Memory", memory, "content"), "Snow");
        assert_eq!(device.field("Memory", memory, "address"), "default");
        let run = async |query: String, variables: Json| device.ask(&query, variables).await["data"]["bulkSync"].clone();
        assert_eq!(run(push(all, 4), json!({ "c": null, "d": null })).await, ok(5));
        device.pull().await;
        assert_eq!(device.field("Memory", memory, "content"), Json::Null);
        assert_eq!(device.field("Memory", memory, "address"), Json::Null);
        // One that must be given is no less needed for standing in a literal.
        let needed = "mutation($n: String!) { bulkSync(input: { tags: [{ operation: CREATE,
            clientTimestamp: \"2026-01-15T12:00:00.000Z\", name: \"x\", emoji: $n }] }) { processedCount } }";
        assert_eq!(refused(&device, needed, json!({})).await, "BAD_USER_INPUT");
        let unused = "query($a: Int) { hello }";
        assert_eq!(refused(&device, unused, json!({})).await, "BAD_USER_INPUT");
        goes_on(&device).await;
    }
}

#[tokio::test]
async fn g17_documents_without_measure_are_refused_before_they_cost_anything() {
    let app = App::start(Backend::Sqlite).await;
    let device = app.device_of("ada").await;
    let aliases = |count: usize| {
        let fields: String = (0..count).map(|at| format!("a{at}:hello ")).collect();
        format!("{{ {fields} }}")
    };
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{{ {} hello {} }}", open.repeat(depth), close.repeat(depth))
    };
    let argument = |value: String| format!("{{ enhancedSync(cursor: {value}) {{ nextCursor }} }}");
    // Each fragment spreads the next one twice.
    let doubling: String = (0..30)
        .map(|at| format!("fragment F{at} on Query {{ ...F{n} ...F{n} }} ", n = at + 1))
        .collect();
    let doubling = format!("{{ ...F0 }} {doubling} fragment F30 on Query {{ hello }}");
    let sideways = format!(
        "{{ {} }} fragment F on Query {{ {} }}",
        "...F ".repeat(2_000),
        "hello ".repeat(2_000)
    );
    for (what, document) in [
        ("100,000 aliases", aliases(100_000)),
        ("5,000 aliases", aliases(5_000)),
        ("a megabyte of spaces", format!("{{ hello {} }}", " ".repeat(1_000_000))),
        ("a megabyte of text", argument(format!("\"{}\"", "x".repeat(1_000_000)))),
        ("deep selections", nested("a {", "}", 5_000)),
        ("deep selections behind strings", nested("a(x:\")\") {", "}", 4_000)),
        ("deep selections behind comments", nested("a() {#}}\n", "}", 4_000)),
        ("deep inline fragments", nested("... {", "}", 5_000)),
        ("deep lists", argument(format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)))),
        ("deep objects", argument(format!("{}1{}", "{a:".repeat(10_000), "}".repeat(10_000)))),
        (
            "deep types",
            format!("query($a: {}Int{}) {{ hello }}", "[".repeat(9_000), "]".repeat(9_000)),
        ),
        (
            "deep introspection",
            format!(
                "{{ __schema {{ types {{ {} name {} }} }} }}",
                "fields { type {".repeat(14),
                "} }".repeat(14)
            ),
        ),
        ("doubling fragments", doubling),
        ("many spreads", sideways),
    ] {
        assert_eq!(refused(&device, &document, json!({})).await, "LIMIT", "{what}");
    }
    for (what, document) in [
        ("a fragment of itself", "{ ...F } fragment F on Query { ...F ...F }".to_owned()),
        (
            "a ring of fragments",
            "{ ...A } fragment A on Query { ...B ...B } fragment B on Query { ...A ...A }".into(),
        ),
        ("an unknown fragment", "{ ...Nowhere }".into()),
        ("no selection", "{ enhancedSync }".into()),
        ("a selection of nothing", "{ }".into()),
        ("a subscription", "subscription { hello }".into()),
        ("a schema", "type Query { hello: String }".into()),
        ("not a number", argument("NaN".into())),
        ("a number beyond all", argument("1e999".into())),
        ("many digits", argument("9".repeat(10_000))),
        ("an open string", argument("\"abc".into())),
        ("a lone surrogate", argument("\"\\ud800\"".into())),
        ("an unknown escape", argument("\"\\x\"".into())),
        ("a NUL", "{ hello \u{0} }".into()),
    ] {
        assert_eq!(refused(&device, &document, json!({})).await, "BAD_USER_INPUT", "{what}");
    }
    goes_on(&device).await;
    app.finish().await;
}

#[tokio::test]
async fn g17_a_batch_over_its_limit_is_refused_whole() {
    let app = App::start(Backend::Sqlite).await;
    let device = app.device_of("ada").await;
    let tag = |_| json!({ "operation": "CREATE", "name": "x", "clientTimestamp": "2026-01-01T00:00:00Z" });
    let mut tags: Vec<Json> = (0..cairn::config::limits::BATCH).map(tag).collect();
    let trip = create("Trip", Uuid::new_v4(), json!({ "name": "one too many" })).1;
    let answer = device.try_push(json!({ "tags": tags, "trips": [trip] }), json!({})).await;
    check_typed(&answer);
    assert_eq!(answer["errors"][0]["extensions"]["code"], "LIMIT", "{answer}");
    assert!(device.fresh_rows().await.is_empty());
    tags.truncate(1);
    assert_eq!(device.push(json!({ "tags": tags })).await.verdict(), "ok 1");
    app.finish().await;
}

#[tokio::test]
async fn g17_page_sizes_and_list_limits_have_bounds() {
    let app = App::start(Backend::Sqlite).await;
    let device = app.device_of("ada").await;
    let pages = "query($n: Int) { enhancedSync(batchSize: $n) { batchSize } }";
    let conflicts = "query($n: Int) { getConflicts(limit: $n) { id } }";
    for (document, most) in [(pages, 1000_i64), (conflicts, 500)] {
        for bad in [0, -1, most + 1, i64::from(i32::MAX) + 1, i64::from(i32::MIN) - 1, i64::MAX] {
            assert_eq!(
                refused(&device, document, json!({ "n": bad })).await,
                "BAD_USER_INPUT",
                "{bad}"
            );
            let literal = document.replace("($n: Int)", "").replace("$n", &bad.to_string());
            assert_eq!(refused(&device, &literal, json!({})).await, "BAD_USER_INPUT", "{bad}");
        }
        for bad in [json!(1.5), json!("1"), json!(true), json!([]), json!(u64::MAX)] {
            assert_eq!(
                refused(&device, document, json!({ "n": bad })).await,
                "BAD_USER_INPUT",
                "{bad}"
            );
        }
        for good in [json!(1), json!(most), Json::Null] {
            assert_eq!(refused(&device, document, json!({ "n": good })).await, "none", "{good}");
        }
    }
    for arguments in [
        "tripId: \"x\"",
        "after: \"x\"",
        "tripId: \"\\u0000\"",
        "status: CLOSED",
        "entityType: Account",
        "entityType: \"Trip\\u0000\"",
    ] {
        let document = format!("{{ getConflicts({arguments}) {{ id }} }}");
        assert_eq!(refused(&device, &document, json!({})).await, "BAD_USER_INPUT", "{arguments}");
    }
    for arguments in [
        "lastSyncedAt: \"yesterday\"",
        "lastSyncedAt: 5",
        "syncPriority: URGENT",
        "entityTypes: [Account]",
        "entityTypes: [null]",
    ] {
        let document = format!("{{ enhancedSync({arguments}) {{ batchSize }} }}");
        assert_eq!(refused(&device, &document, json!({})).await, "BAD_USER_INPUT", "{arguments}");
    }
    let push = "mutation($d: ID) { bulkSync(input: {}, deviceId: $d) { processedCount } }";
    for device_id in [json!("x"), json!(""), json!("\u{0}"), json!(5), json!("x".repeat(100_000))] {
        assert_eq!(refused(&device, push, json!({ "d": device_id })).await, "BAD_USER_INPUT");
    }
    goes_on(&device).await;
    app.finish().await;
}

/// Values that break things, and keys that mean something.
fn arbitrary_json() -> impl Strategy<Value = Json> {
    let texts = prop::sample::select(vec![
        "",
        "x",
        "CREATE",
        "UPDATE",
        "DELETE",
        "HIGH",
        "#a0b1c2",
        "2026-01-15T12:00:00.000Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "2026-02-30T00:00:00Z",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "00000000-0000-0000-0000-000000000000",
        "~",
        "\u{0}",
        "\u{202e}",
        "𝄞",
        "' OR 1=1 --",
        "%",
        "{}",
    ]);
    let numbers = prop::sample::select(vec![0, 1, -1, 90, 255, i64::from(i32::MAX) + 1, i64::MIN]);
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        numbers.prop_map(Json::from),
        prop::num::f64::NORMAL.prop_map(Json::from),
        texts.prop_map(Json::from),
        ".{0,40}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|fields| Json::Object(Map::from_iter(fields))),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let mut names: Vec<String> =
        vec!["x".into(), "".into(), "$serde_json::private::RawValue".into()];
    for kind in cairn::kinds::all() {
        names.push(kind.list.into());
        names.extend(kind.fields.iter().map(|field| field.name.clone()));
    }
    for name in ["id", "operation", "syncVersion", "clientTimestamp", "operationId"] {
        // Often enough to meet each other.
        names.extend(std::iter::repeat_n(name.to_owned(), 5));
    }
    prop::sample::select(names)
}

/// A batch of one row of each kind, of which some fields were replaced by anything.
fn mutated_batch() -> impl Strategy<Value = Json> {
    let mutations =
        prop::collection::vec((any::<prop::sample::Index>(), key(), arbitrary_json()), 0..6);
    (any::<[u128; 7]>(), mutations).prop_map(|(ids, mutations)| {
        let ids = ids.map(|id| uuid::Builder::from_random_bytes(id.to_be_bytes()).into_uuid());
        let [category, tag, item, trip, memory, media, track] = ids;
        let start = "2026-01-01T00:00:00.000Z";
        let mut items = [
            create("TagCategory", category, json!({ "name": "c", "color": "#a0b1c2" })),
            create("Tag", tag, json!({ "name": "t", "categoryId": category })),
            create("BucketListItem", item, json!({ "name": "b" })),
            create("Trip", trip, json!({ "name": "t", "startDate": start })),
            create("Memory", memory, json!({ "tripId": trip, "title": "m", "tagIds": [tag] })),
            create("MediaItem", media, json!({ "memoryId": memory, "objectName": "o", "mimeType": "image/jpeg", "fileSize": 1 })),
            create("GPXTrack", track, json!({ "tripId": trip, "memoryId": memory, "name": "g" })),
        ];
        for (at, key, value) in mutations {
            let at = at.index(items.len());
            items[at].1[key] = value;
        }
        Json::Object(items.into_iter().map(|(list, item)| (list.to_owned(), json!([item]))).collect())
    })
}

/// Runs a test with many inputs against one server.
fn with_many<T: std::fmt::Debug>(
    backend: Backend,
    inputs: impl Strategy<Value = T>,
    test: impl AsyncFn(&Device<'_>, T),
) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config { failure_persistence: None, ..Config::with_cases(cases.unwrap_or(64)) };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let app = runtime.block_on(App::start(backend));
    let device = runtime.block_on(app.device_of("ada"));
    let run = |input: T| {
        runtime.block_on(test(&device, input));
        Ok::<(), TestCaseError>(())
    };
    TestRunner::new(config).run(&inputs, run).expect("it holds for all inputs");
    runtime.block_on(goes_on(&device));
    runtime.block_on(app.finish());
}

#[test]
fn g18_any_json_as_a_batch_is_answered() {
    for backend in Backend::ALL {
        with_many(backend, arbitrary_json(), async |device, input| {
            let answer = device.try_push(input, json!({})).await;
            check_typed(&answer);
        });
    }
}

#[test]
fn g18_each_item_of_a_mutated_batch_gets_one_verdict() {
    for backend in Backend::ALL {
        let refusals = std::cell::Cell::new((0, 0));
        with_many(backend, mutated_batch(), async |device, input| {
            let answer = device.try_push(input, json!({})).await;
            check_typed(&answer);
            let pushed = &answer["data"]["bulkSync"];
            let (taken, refused) = refusals.get();
            if !answer["errors"].is_null() {
                refusals.set((taken, refused + 1));
                return;
            }
            refusals.set((taken + 1, refused));
            let list = |name: &str| pushed[name].as_array().expect("a list").clone();
            let all = Pushed {
                successful: list("successful"),
                conflicts: list("conflicts"),
                failed: list("failed"),
            };
            assert_eq!(all.verdicts().len(), 7, "{answer}");
            assert_eq!(pushed["processedCount"], 7);
        });
        let (taken, refused) = refusals.get();
        assert!(taken > 0 && refused > 0, "both happen: {taken}, {refused}");
    }
}
