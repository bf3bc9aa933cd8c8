//! Accounts for benches that run a server in a process of its own.

use serde_json::json;

use crate::support::{ask, client};

/// Makes an account on a server that was started, and gives a token.
pub async fn log_in(url: &str, number: usize) -> String {
    let client = client();
    let input = json!({ "email": format!("{number}@example.org"), "password": "correct horse" });
    for request in ["register(input: $input) { id }", "login(input: $input) { token }"] {
        let document = format!("mutation($input: UserInput!) {{ {request} }}");
        let answer = ask(&client, url, None, &document, json!({ "input": input })).await;
        if let Some(token) = answer["data"]["login"]["token"].as_str() {
            return token.to_owned();
        }
        assert!(answer["errors"].is_null(), "{answer}");
    }
    panic!("no token");
}
