//! Accounts, sessions and tokens; and that nothing else answers without one.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sea_orm::sea_query::Query;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, Statement};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Backend, Device, Process, TestDatabase, create};

const REGISTER: &str =
    "mutation($input: UserInput!) { register(input: $input) { id email username } }";
const LOGIN: &str =
    "mutation($input: UserInput!) { login(input: $input) { token user { email } } }";
const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
}

async fn person(app: &App, mutation: &str, email: &str, password: &str) -> Json {
    app.ask(None, mutation, json!({ "input": { "email": email, "password": password } })).await
}

/// A token of a new session.
async fn login(app: &App, email: &str, password: &str) -> String {
    let answer = person(app, LOGIN, email, password).await;
    answer["data"]["login"]["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Whether the token is worth something.
async fn is_good(app: &App, token: &str) -> bool {
    let answer = app.ask(Some(token), "{ getCurrentUser { id } }", json!({})).await;
    match answer["data"]["getCurrentUser"]["id"].is_string() {
        true => true,
        false => {
            assert_eq!(code(&answer), "UNAUTHENTICATED", "{answer}");
            assert!(answer["data"]["getCurrentUser"].is_null());
            false
        }
    }
}

/// A token of one field of a mutation that gives one.
async fn renewed(app: &App, token: &str, mutation: &str) -> Result<String, String> {
    let answer =
        app.ask(Some(token), &format!("mutation {{ r: {mutation} {{ token }} }}"), json!({})).await;
    let token = answer["data"]["r"]["token"].as_str().map(str::to_owned);
    token.ok_or_else(|| code(&answer).to_owned())
}

both! {
    async fn an_account_is_made_once_and_its_email_is_read_in_any_case(app: &App) {
        let answer = person(app, REGISTER, " Ada.Byron@Example.ORG ", "correct horse").await;
        let user = &answer["data"]["register"];
        assert_eq!((&user["email"], &user["username"]), (&json!("ada.byron@example.org"), &json!("ada.byron")));
        assert!(Uuid::try_parse(user["id"].as_str().expect("an id")).is_ok());
        for again in ["ada.byron@example.org", "ADA.BYRON@EXAMPLE.ORG"] {
            let answer = person(app, REGISTER, again, "another password").await;
            assert_eq!(code(&answer), "BAD_USER_INPUT");
            assert!(answer["data"].is_null());
        }
        let token = login(app, "ADA.byron@example.org", "correct horse").await;
        assert!(is_good(app, &token).await);
        // Wrong password, a password of other case, and an address that nobody has: one answer.
        let mut answers = Vec::new();
        for (email, password) in [
            ("ada.byron@example.org", "wrong horse"),
            ("ada.byron@example.org", "Correct horse"),
            ("ada.byron@example.org", ""),
            ("nobody@example.org", "correct horse"),
            ("no address", "correct horse"),
            ("a\u{0}@example.org", "correct\u{0}horse"),
        ] {
            let answer = person(app, LOGIN, email, password).await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{email}");
            answers.push(answer["errors"][0]["message"].clone());
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }

    async fn a_malformed_email_or_password_makes_no_account(app: &App) {
        let long = format!("{}@example.org", "a".repeat(250));
        for email in [
            "", " ", "ada", "@example.org", "ada@", "a@b@c", "a da@example.org", "ada@exam\nple.org",
            "ada\u{0}@example.org", &long,
        ] {
            let answer = person(app, REGISTER, email, "correct horse").await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{email}");
            assert!(answer["errors"][0]["message"].as_str().expect("a message").starts_with("email"));
        }
        for password in ["", "7 chars", &"x".repeat(257), &"x".repeat(1_000_000)] {
            let answer = person(app, REGISTER, "ada@example.org", password).await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{} characters", password.len());
            assert!(answer["errors"][0]["message"].as_str().expect("a message").starts_with("password"));
        }
        for password in ["8 chars!".to_owned(), "é".repeat(256), "with\u{0}nul and 𝄞".into()] {
            let email = format!("{}@example.org", Uuid::new_v4());
            let answer = person(app, REGISTER, &email, &password).await;
            assert_eq!(code(&answer), "none", "{answer}");
            login(app, &email, &password).await;
        }
    }

    async fn a_session_ends_alone_or_with_all_others(app: &App) {
        let first = app.register("ada").await;
        let other = app.register("bob").await;
        let second = login(app, "ada@example.org", "correct horse").await;
        let logout = async |token: &str, everywhere: bool| {
            let query = "mutation($all: Boolean!) { logout(everywhere: $all) }";
            app.ask(Some(token), query, json!({ "all": everywhere })).await["data"]["logout"].clone()
        };
        assert_eq!(logout(&first, false).await, true);
        assert!(!is_good(app, &first).await && is_good(app, &second).await);
        let third = login(app, "ada@example.org", "correct horse").await;
        assert_eq!(logout(&third, true).await, true);
        assert!(!is_good(app, &second).await && !is_good(app, &third).await);
        assert!(is_good(app, &other).await, "another's session is untouched");
        assert_eq!(logout(&third, true).await, Json::Null);
        assert_eq!(renewed(app, &third, "refreshToken").await, Err("UNAUTHENTICATED".into()));
    }

    async fn a_token_can_be_renewed_as_long_as_its_session_lasts(app: &App) {
        let first = app.register("ada").await;
        let second = renewed(app, &first, "refreshToken").await.expect("a token");
        assert!(is_good(app, &first).await, "the answer may have been lost");
        assert!(is_good(app, &second).await);
        app.ask(Some(&first), "mutation { logout }", json!({})).await;
        assert!(!is_good(app, &second).await, "both are of one session");
    }

    async fn a_new_password_ends_all_sessions_but_the_new_one(app: &App) {
        let first = app.register("ada").await;
        let second = login(app, "ada@example.org", "correct horse").await;
        let change = |current: &str, new: &str| {
            format!("changePassword(currentPassword: {}, newPassword: {})", json!(current), json!(new))
        };
        let wrong = renewed(app, &first, &change("wrong horse", "battery staple")).await;
        assert_eq!(wrong, Err("BAD_USER_INPUT".into()));
        for bad in ["short", &"x".repeat(257)] {
            let refused = renewed(app, &first, &change("correct horse", bad)).await;
            assert_eq!(refused, Err("BAD_USER_INPUT".into()));
        }
        assert!(is_good(app, &first).await && is_good(app, &second).await);
        let third = renewed(app, &first, &change("correct horse", "battery staple")).await;
        let third = third.expect("a token");
        assert!(!is_good(app, &first).await && !is_good(app, &second).await);
        assert!(is_good(app, &third).await);
        let old = person(app, LOGIN, "ada@example.org", "correct horse").await;
        assert_eq!(code(&old), "BAD_USER_INPUT");
        login(app, "ada@example.org", "battery staple").await;
    }

    async fn an_old_bcrypt_hash_is_good_for_a_login_and_replaced_by_it(app: &App) {
        app.register("ada").await;
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            set_hash(app, &bcrypt("an older password").replace("$2b$", prefix)).await;
            let wrong = person(app, LOGIN, "ada@example.org", "another password").await;
            assert_eq!(code(&wrong), "BAD_USER_INPUT");
            assert!(hash_of(app).await.starts_with(prefix), "a wrong password replaces nothing");
            let token = login(app, "ada@example.org", "an older password").await;
            assert!(is_good(app, &token).await);
            let hash = hash_of(app).await;
            assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
            login(app, "ada@example.org", "an older password").await;
            assert_eq!(hash_of(app).await, hash, "one of ours stays");
        }
        // Both first logins of two devices succeed, whoever replaces the hash.
        set_hash(app, &bcrypt("an older password")).await;
        let first = || login(app, "ada@example.org", "an older password");
        tokio::join!(first(), first(), first());
        // The current password may be an old one, too.
        set_hash(app, &bcrypt("an older password")).await;
        let token = login(app, "ada@example.org", "an older password").await;
        set_hash(app, &bcrypt("an older password")).await;
        let change = "changePassword(currentPassword: \"an older password\", newPassword: \"a new password\")";
        renewed(app, &token, change).await.expect("a token");
        assert!(hash_of(app).await.starts_with("$argon2id$"));
    }

    async fn a_password_that_bcrypt_did_not_read_to_its_end_stays_with_it(app: &App) {
        app.register("ada").await;
        let long = "x".repeat(80);
        set_hash(app, &bcrypt(&long)).await;
        login(app, "ada@example.org", &format!("{}typo", &long[..76])).await;
        login(app, "ada@example.org", &long).await;
        assert!(hash_of(app).await.starts_with("$2b$"));
        assert_eq!(code(&person(app, LOGIN, "ada@example.org", &long[..71]).await), "BAD_USER_INPUT");
    }

    async fn a_malformed_or_costly_hash_logs_nobody_in(app: &App) {
        app.register("ada").await;
        let good = bcrypt("correct horse");
        for bad in [
            "", "correct horse", "$2b$", &good[..59], &format!("{}é", &good[..58]), "$argon2id$v=19$",
            &good.replace("$04$", "$31$"), &good.replace("$2b$", "$2x$"),
        ] {
            set_hash(app, bad).await;
            let answer = person(app, LOGIN, "ada@example.org", "correct horse").await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{bad}");
        }
    }

    async fn an_operator_makes_and_lists_accounts_and_resets_passwords(app: &App) {
        let cairn = async |arguments: &[&str], input: &str| {
            let url = [("DATABASE_URL", app.database.url.as_str())];
            Process::run(&[&["account"], arguments].concat(), &url, input).await
        };
        assert_eq!(cairn(&["list"], "").await.printed(), "");
        let made = cairn(&["create", "Ada@Example.org"], "correct horse\nsecond line\n").await.printed();
        assert!(made.starts_with("ada@example.org is account "), "{made}");
        let token = login(app, "ada@example.org", "correct horse").await;
        let made = cairn(&["create", "bob@example.org", "--generate"], "").await.printed();
        let password = made.trim().rsplit(' ').next().expect("a password");
        login(app, "bob@example.org", password).await;
        cairn(&["create", "eve@example.org"], "without an end of line").await.printed();

        let list = cairn(&["list"], "").await.printed();
        let addresses: Vec<&str> =
            list.lines().map(|line| line.rsplit(' ').next().expect("an address")).collect();
        assert_eq!(addresses, ["ada@example.org", "bob@example.org", "eve@example.org"]);
        assert!(list.lines().nth(2).expect("a line").contains("  never "), "{list}");
        for line in cairn(&["list", "--json"], "").await.printed().lines() {
            let account: Json = serde_json::from_str(line).expect("JSON");
            assert!(account["isActive"] == true && account["id"].is_string(), "{account}");
            assert_eq!(account["lastLoginAt"].is_null(), account["email"] == "eve@example.org");
        }

        cairn(&["reset-password", "ADA@example.org"], "battery staple\r\n").await.printed();
        assert!(!is_good(app, &token).await, "its sessions have ended");
        login(app, "ada@example.org", "battery staple").await;
        assert_eq!(code(&person(app, LOGIN, "ada@example.org", "correct horse").await), "BAD_USER_INPUT");
        let reset = cairn(&["reset-password", "ada@example.org", "--generate"], "").await.printed();
        login(app, "ada@example.org", reset.trim().rsplit(' ').next().expect("a password")).await;

        for (arguments, input, sentence) in [
            (["create", "ada@example.org"], "correct horse", "email: there is an account with this address already"),
            (["create", "no address"], "correct horse", "email: must be an email address"),
            (["create", "new@example.org"], "short\n", "password: must have 8 to 256 characters"),
            (["create", "new@example.org"], "", "no password: give one line on the standard input, or --generate"),
            (["reset-password", "new@example.org"], "correct horse", "there is no account with the address new@example.org"),
            (["reset-password", "bob@example.org"], "\n", "no password: give one line on the standard input, or --generate"),
        ] {
            let refused = cairn(&arguments, input).await;
            assert_eq!(refused.status.code(), Some(1), "{refused:?}");
            assert_eq!(refused.err.trim(), format!("cairn: {sentence}"));
        }
    }

    async fn without_a_token_nothing_answers_but_three_fields(app: &App) {
        let schema = "{ __schema {
            queryType { name } mutationType { name }
            types {
                kind name enumValues { name }
                inputFields { name defaultValue type { ...T } }
                fields { name args { name defaultValue type { ...T } } type { ...T } }
            }
        } }
        fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";
        let answer = app.ask(None, schema, json!({})).await;
        let schema = &answer["data"]["__schema"];
        let list = schema["types"].as_array().expect("types").iter();
        let types: HashMap<&str, &Json> = list.map(|ty| (text(&ty["name"]), ty)).collect();
        let mut walked = 0;
        for (operation, root) in [("query", "queryType"), ("mutation", "mutationType")] {
            let root = types[text(&schema[root]["name"])];
            for field in root["fields"].as_array().expect("fields") {
                let name = text(&field["name"]);
                if ["hello", "register", "login"].contains(&name) {
                    continue;
                }
                let needed = needed(&field["args"], &types);
                let arguments = if needed.is_empty() { needed } else { format!("({needed})") };
                let leaf = ["SCALAR", "ENUM"].contains(&text(&named(&field["type"])["kind"]));
                let selection = if leaf { "" } else { "{ __typename }" };
                let query = format!("{operation} {{ {name}{arguments} {selection} }}");
                for token in [None, Some("forged")] {
                    let answer = app.ask(token, &query, json!({})).await;
                    assert_eq!(code(&answer), "UNAUTHENTICATED", "{query}: {answer}");
                    let data = answer["data"].as_object();
                    assert!(data.is_none_or(|data| data.values().all(Json::is_null)), "{answer}");
                }
                walked += 1;
            }
        }
        assert!(walked >= 9, "only {walked} fields were found");
        let hello = app.ask(None, "{ hello }", json!({})).await;
        assert_eq!(hello["data"]["hello"], "Hello from Cairn");
        // What is wrong with the arguments is told to nobody else, either.
        for query in ["{ conflict(id: \"x\") { id } }", "{ getConflicts(limit: 0, tripId: \"x\") { id } }"] {
            assert_eq!(code(&app.ask(None, query, json!({})).await), "UNAUTHENTICATED", "{query}");
        }
    }
}

fn bcrypt(password: &str) -> String {
    bcrypt::hash_with_salt(password, 4, *b"sixteen bytes!!!").expect("hashed").to_string()
}

/// Gives all accounts this hash.
async fn set_hash(app: &App, hash: &str) {
    let update = Query::update().table("account").value("password_hash", hash).to_owned();
    app.db().pool().execute(&update).await.expect("updated");
}

/// The hash of the one account.
async fn hash_of(app: &App) -> String {
    let account = entity::account::Entity::find().one(app.db().pool()).await;
    account.expect("it answers").expect("an account").password_hash
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_else(|| panic!("no text: {json}"))
}

/// The type inside lists and `!`.
fn named(ty: &Json) -> &Json {
    if ty["ofType"].is_object() { named(&ty["ofType"]) } else { ty }
}

/// Literals for the arguments or input fields that must be given.
fn needed(arguments: &Json, types: &HashMap<&str, &Json>) -> String {
    let arguments = arguments.as_array().expect("arguments").iter();
    arguments
        .filter(|argument| {
            argument["type"]["kind"] == "NON_NULL" && argument["defaultValue"].is_null()
        })
        .map(|argument| {
            format!("{}: {}", text(&argument["name"]), sample(&argument["type"], types))
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn sample(ty: &Json, types: &HashMap<&str, &Json>) -> String {
    match (text(&ty["kind"]), ty["name"].as_str()) {
        ("NON_NULL", _) => sample(&ty["ofType"], types),
        ("LIST", _) => "[]".into(),
        ("ENUM", Some(name)) => text(&types[name]["enumValues"][0]["name"]).into(),
        ("INPUT_OBJECT", Some(name)) => {
            format!("{{ {} }}", needed(&types[name]["inputFields"], types))
        }
        (_, Some("Int" | "Float")) => "1".into(),
        (_, Some("Boolean")) => "true".into(),
        (_, Some("DateTime")) => "\"2026-01-01T00:00:00.000Z\"".into(),
        _ => "\"x\"".into(),
    }
}

/// A JWT of these parts, signed with HS256.
fn signed(claims: &Json, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("signed")
}

#[tokio::test]
async fn a_login_with_a_password_that_is_being_changed_gets_no_session() {
    // On PostgreSQL alone, which tells who waits.
    let app = App::start(Backend::Postgres).await;
    app.register("ada").await;
    let change = app.db().begin_write().await.expect("a transaction");
    let sql = "UPDATE account SET password_hash = 'another'";
    change.execute_unprepared(sql).await.expect("the account is free");
    let waits = "SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let commit = async {
        let waits = Statement::from_string(DbBackend::Postgres, waits);
        while app.db().pool().query_one_raw(waits.clone()).await.expect("it answers").is_none() {
            tokio::task::yield_now().await;
        }
        change.commit().await.expect("it commits");
    };
    let login = person(&app, LOGIN, "ada@example.org", "correct horse");
    let (answer, ()) = tokio::join!(login, commit);
    assert_eq!(code(&answer), "BAD_USER_INPUT", "{answer}");
    app.finish().await;
}

#[tokio::test]
async fn only_tokens_of_this_server_and_of_a_living_session_are_good() {
    for backend in Backend::ALL {
        let app = App::start_with(backend, &["--jwt-secret", SECRET]).await;
        let (ada, bob) = (app.register("ada").await, app.register("bob").await);
        let claims = |token: &str| -> Json {
            let payload =
                BASE64.decode(token.split('.').nth(1).expect("a payload")).expect("base64");
            serde_json::from_slice(&payload).expect("JSON")
        };
        let with = |field: &str, value: Json| {
            let mut claims = claims(&ada);
            claims[field] = value;
            claims
        };
        assert!(
            is_good(&app, &signed(&claims(&ada), SECRET)).await,
            "the test signs as the server does"
        );
        let unsigned = |header: Json| {
            let [header, payload] =
                [header, claims(&ada)].map(|part| BASE64.encode(part.to_string()));
            format!("{header}.{payload}.")
        };
        let [header, payload, signature] =
            <[&str; 3]>::try_from(ada.split('.').collect::<Vec<_>>()).expect("three parts");
        let bad = [
            String::new(),
            "garbage".into(),
            "a.b.c".into(),
            signed(&claims(&ada), "another-secret-of-thirty-two-bytes-or-so"),
            signed(&with("exp", json!(1_700_000_000)), SECRET),
            signed(&with("exp", Json::Null), SECRET),
            signed(&with("iss", json!("someone else")), SECRET),
            signed(&with("sid", json!(Uuid::new_v4())), SECRET),
            signed(&with("sid", json!("x")), SECRET),
            // Bob's session does not make him Ada.
            signed(&with("sid", claims(&bob)["sid"].clone()), SECRET),
            signed(&with("sub", claims(&bob)["sub"].clone()), SECRET),
            unsigned(json!({ "alg": "none", "typ": "JWT" })),
            unsigned(json!({ "alg": "None" })),
            unsigned(json!({ "alg": "HS256" })),
            unsigned(json!({ "alg": "RS256" })),
            format!("{header}.{}.{signature}", BASE64.encode(claims(&bob).to_string())),
            format!("{header}.{payload}"),
            format!("{ada}x"),
            format!("{ada}.{payload}"),
            "x".repeat(8_000),
        ];
        for token in bad {
            assert!(!is_good(&app, &token).await, "{token}");
        }
        // Other schemes are no token.
        for scheme in ["Basic", "Bearer:", "Token"] {
            let request = app
                .client
                .post(format!("{}/graphql", app.url))
                .header("authorization", format!("{scheme} {ada}"))
                .json(&json!({ "query": "{ devices { id } }" }));
            let answer: Json = request.send().await.expect("an answer").json().await.expect("JSON");
            assert_eq!(code(&answer), "UNAUTHENTICATED", "{scheme}");
        }
        assert!(is_good(&app, &ada).await);
        app.finish().await;
    }
}

#[tokio::test]
async fn a_token_and_what_was_pushed_with_it_survive_a_restart() {
    for backend in Backend::ALL {
        let mut app = App::start(backend).await;
        let token = app.register("ada").await;
        let trip = Device::new(&app, "ada", token.clone()).trip("Alps").await;
        app.restart().await;
        let mut device = Device::new(&app, "ada", token);
        device.pull().await;
        assert_eq!(device.field("Trip", trip, "name"), "Alps");
        let tag = create("Tag", Uuid::new_v4(), json!({ "name": "after" }));
        assert_eq!(device.push_one(tag).await, "ok 1");
        app.finish().await;
    }
}

#[tokio::test]
async fn a_start_that_would_be_unsafe_is_refused_with_a_sentence() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let url = ("DATABASE_URL", database.url.as_str());
    let thirty_one = "x".repeat(31);
    for (settings, sentence) in [
        (
            vec![("JWT_SECRET", thirty_one.as_str())],
            "cairn: JWT_SECRET must have at least 32 bytes",
        ),
        (vec![("JWT_SECRET", "")], "cairn: JWT_SECRET must have at least 32 bytes"),
        (vec![("ENV", "production")], "cairn: JWT_SECRET must be set in production"),
    ] {
        let (status, log) = Process::spawn(&[&[url][..], &settings].concat()).ended().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert_eq!(log.trim(), sentence);
    }
    let good = [url, ("ENV", "production"), ("JWT_SECRET", SECRET)];
    let (process, _) = Process::serve(&good).await;
    process.terminate();
    assert!(process.ended().await.0.success());
}
