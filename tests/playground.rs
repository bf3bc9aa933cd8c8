//! The playground at `/`, in a real browser.

use serde_json::json;

use crate::support::browser::Look;
use crate::support::{App, Backend, Browser, Cdn};

/// The host that the page loads its files from.
fn host(page: &str) -> &str {
    let script = page.split("src=\"https://").nth(1).expect("the page loads scripts");
    script.split('/').next().expect("a host")
}

/// Runs an operation of the editor by its name, and waits until the answer shows this.
async fn run(browser: &Browser, operation: &str, answer: &str) -> String {
    browser.click(".graphiql-execute-button").await;
    let entry = format!(
        "return [...document.querySelectorAll('[role=menuitem]')].find((entry) => entry.innerText === {})",
        json!(operation)
    );
    browser.until(&entry).await;
    browser.run(&format!("{}.click()", entry.replacen("return ", "", 1))).await;
    let result =
        "return document.querySelector('.result-window .CodeMirror').CodeMirror.getValue()";
    let shown = format!("{result}.includes({})", json!(answer));
    browser.until(&shown).await;
    browser.run(result).await.as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_opens_with_a_walk_that_a_developer_can_take() {
    let app = App::start(Backend::Sqlite).await;
    let page = app.client.get(&app.url).send().await.expect("the server answers");
    let page = page.text().await.expect("a page");
    let cdn = Cdn::start(host(&page)).await;
    let browser = Browser::open_as(Look { arguments: cdn.arguments(), ..Look::default() }).await;
    browser.go(&app.url).await;
    let query = "document.querySelector('.graphiql-query-editor .CodeMirror').CodeMirror";
    let query = browser.until(&format!("return {query}.getValue()")).await;
    assert!(query.as_str().expect("text").contains("mutation Login"), "{query}");
    browser.shows("mutation Register").await;
    // The place for the token is open, and says what it looks like.
    let headers = "[...document.querySelectorAll('.graphiql-editor-tools ~ * .CodeMirror, .graphiql-editor-tool .CodeMirror')]
        .find((editor) => editor.CodeMirror.getValue().includes('Authorization')).CodeMirror";
    let example = browser.until(&format!("return {headers}.getValue()")).await;
    assert!(example.as_str().expect("text").contains("\"Authorization\": \"Bearer "), "{example}");
    browser.shows("Authorization").await;

    run(&browser, "Register", "\"id\"").await;
    let answer = run(&browser, "Login", "\"token\"").await;
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let token = answer["data"]["login"]["token"].as_str().expect("a token");
    let with_token = json!({ "Authorization": format!("Bearer {token}") }).to_string();
    browser.run_with(&format!("{headers}.setValue(arguments[0])"), json!([with_token])).await;
    run(&browser, "Push", "\"syncVersion\": 1").await;
    run(&browser, "Pull", "Along the coast").await;
    app.finish().await;
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let app = App::start_with(Backend::Sqlite, &["--playground", "false"]).await;
    let answer = app.client.get(&app.url).send().await.expect("the server answers");
    assert_eq!(answer.status(), 404);
    app.finish().await;
}
