//! A real browser: Debian's chromium, driven by chromedriver as the WebDriver specification says
//! (<https://www.w3.org/TR/webdriver2/>), with a few of Chromium's own commands.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

/// Far more than a slow machine needs; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);
/// The key under which WebDriver names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that are no characters.
pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";
pub const SPACE: &str = " ";
pub const DOWN: &str = "\u{E015}";

/// One browser with a profile of its own. It ends when this is dropped.
pub struct Browser {
    client: reqwest::Client,
    /// The session's path at chromedriver.
    session: String,
    _profile: tempfile::TempDir,
}

/// How a browser is to be.
#[derive(Clone, Default)]
pub struct Look<'a> {
    /// What its person reads; English if empty.
    pub languages: &'a str,
    /// Further arguments of chromium's.
    pub arguments: Vec<String>,
}

impl Browser {
    pub async fn open() -> Browser {
        Browser::open_as(Look::default()).await
    }

    pub async fn open_as(look: Look<'_>) -> Browser {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut arguments: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--window-size=1200,1200",
            // It ends with the chromedriver that holds the pipe.
            "--remote-debugging-pipe",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        arguments.extend(look.arguments);
        let languages = if look.languages.is_empty() { "en-US,en" } else { look.languages };
        let options = json!({
            "binary": "/usr/bin/chromium",
            "args": arguments,
            "prefs": { "intl.accept_languages": languages },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let client = super::client();
        let made = send(client.post(format!("{}/session", driver())).json(&wanted)).await;
        let made = made.unwrap_or_else(|error| panic!("no browser: {error}"));
        let id = made["sessionId"].as_str().expect("a session");
        Browser { client, session: format!("/session/{id}"), _profile: profile }
    }

    async fn post(&self, path: &str, body: Json) -> Result<Json, Json> {
        send(self.client.post(format!("{}{}{path}", driver(), self.session)).json(&body)).await
    }

    async fn get(&self, path: &str) -> Json {
        let request = self.client.get(format!("{}{}{path}", driver(), self.session));
        send(request).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn command(&self, path: &str, body: Json) -> Json {
        self.post(path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A command of Chromium's own, of its DevTools protocol.
    pub async fn cdp(&self, name: &str, parameters: Json) -> Json {
        self.command("/goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await
    }

    pub async fn go(&self, url: &str) {
        self.command("/url", json!({ "url": url })).await;
    }

    pub async fn reload(&self) {
        self.command("/refresh", json!({})).await;
    }

    pub async fn url(&self) -> String {
        self.get("/url").await.as_str().expect("a URL").to_owned()
    }

    /// Runs a script, the body of a function, and gives what it returns.
    pub async fn run(&self, script: &str) -> Json {
        self.run_with(script, json!([])).await
    }

    /// The same, with arguments.
    pub async fn run_with(&self, script: &str, arguments: Json) -> Json {
        self.command("/execute/sync", json!({ "script": script, "args": arguments })).await
    }

    /// Runs a script that calls its last argument when it is done.
    pub async fn run_until_called(&self, script: &str, arguments: Json) -> Json {
        self.command("/execute/async", json!({ "script": script, "args": arguments })).await
    }

    /// Waits until a script returns something true, and gives it.
    pub async fn until(&self, script: &str) -> Json {
        let until = Instant::now() + PATIENCE;
        loop {
            // While a page is being replaced there is none to run in.
            let now = self.post("/execute/sync", json!({ "script": script, "args": [] })).await;
            match now {
                Ok(value) if ![json!(null), json!(false), json!(0), json!("")].contains(&value) => {
                    return value;
                }
                last if Instant::now() > until => {
                    panic!("{script}: never true, but {last:?}; the page:\n{}", self.text().await)
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Waits until the page shows this text.
    pub async fn shows(&self, text: &str) {
        self.until(&format!("return document.body.innerText.includes({})", json!(text))).await;
    }

    /// Waits until the page shows it no more.
    pub async fn hides(&self, text: &str) {
        self.until(&format!("return !document.body.innerText.includes({})", json!(text))).await;
    }

    /// Waits until there is such an element, and it can be seen.
    pub async fn element(&self, css: &str) -> String {
        let script = format!(
            "const found = document.querySelector({}); return found?.checkVisibility() ? found : null",
            json!(css)
        );
        self.until(&script).await[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Clicks, once it is there.
    pub async fn click(&self, css: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let element = self.element(css).await;
            // A live page may replace what was just found.
            match self.post(&format!("/element/{element}/click"), json!({})).await {
                Ok(_) => return,
                Err(error) if Instant::now() > until => panic!("{css}: {error}"),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Types text into an input, in place of what is there.
    pub async fn write(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.command(&format!("/element/{element}/clear"), json!({})).await;
        self.command(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Chooses an option of a select, once it is there.
    pub async fn choose(&self, css: &str, value: &str) {
        let option = format!("{css} option[value=\"{value}\"]");
        self.until(&format!("return document.querySelector({})", json!(option))).await;
        let chosen = "const [select, value] = [document.querySelector(arguments[0]), arguments[1]];
            select.focus();
            select.value = value;
            select.dispatchEvent(new Event('change', { bubbles: true }))";
        self.run_with(chosen, json!([css, value])).await;
    }

    /// Presses keys one after another, wherever the focus is.
    pub async fn press(&self, keys: &[&str]) {
        let actions: Vec<Json> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let source = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.command("/actions", json!({ "actions": [source] })).await;
    }

    /// Presses Tab until the focus is on such an element; never more often than a page has stops.
    pub async fn tab_to(&self, css: &str) {
        for _ in 0..100 {
            let script = format!("return document.activeElement?.matches({})", json!(css));
            if self.run(&script).await == true {
                return;
            }
            self.press(&[TAB]).await;
        }
        panic!("Tab never reaches {css}; the page:\n{}", self.text().await);
    }

    /// What a person reads on the page.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body?.innerText ?? ''").await;
        text.as_str().expect("text").to_owned()
    }

    /// What the browser's console says, and has not said before: warnings and errors.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.command("/se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().expect("a list").iter();
        entries
            .filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG")
            .map(|entry| entry["message"].as_str().expect("text").to_owned())
            .collect()
    }

    /// A phone: 360 points wide, or a screen again.
    pub async fn phone(&self, is_phone: bool) {
        if is_phone {
            let phone =
                json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
            self.cdp("Emulation.setDeviceMetricsOverride", phone).await;
        } else {
            self.cdp("Emulation.clearDeviceMetricsOverride", json!({})).await;
        }
    }

    /// Whether the person prefers dark colours.
    pub async fn dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": value });
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    /// Cuts the browser off the network, or lets it back.
    pub async fn offline(&self, is_offline: bool) {
        let conditions = json!({
            "offline": is_offline, "latency": 0, "download_throughput": -1, "upload_throughput": -1,
        });
        self.command("/chromium/network_conditions", json!({ "network_conditions": conditions }))
            .await;
    }

    /// What is seen, as a PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        let image = self.get("/screenshot").await;
        STANDARD.decode(image.as_str().expect("base64")).expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without a runtime: a test that failed comes here, too. chromedriver ends what remains.
        let host = driver().trim_start_matches("http://");
        if let Ok(mut stream) = TcpStream::connect(host) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let request = format!(
                "DELETE {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
                self.session
            );
            let _ = stream.write_all(request.as_bytes());
            // The answer comes when the browser has ended.
            let _ = BufReader::new(stream).read_line(&mut String::new());
        }
    }
}

/// Sends one command. An error is what chromedriver says of it.
async fn send(request: reqwest::RequestBuilder) -> Result<Json, Json> {
    let response = request.send().await.map_err(|error| json!(error.to_string()))?;
    let is_good = response.status().is_success();
    let mut answer: Json = response.json().await.map_err(|error| json!(error.to_string()))?;
    let value = answer["value"].take();
    if is_good { Ok(value) } else { Err(value) }
}

/// Where chromedriver listens. It is started once a run.
fn driver() -> &'static str {
    static DRIVER: OnceLock<String> = OnceLock::new();
    DRIVER.get_or_init(|| {
        // It ends with the thread that started it: one that lives as long as the run.
        let (ready, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut driver = Command::new("chromedriver");
            driver.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
            // SAFETY: prctl is async-signal-safe, and touches only the child.
            unsafe {
                driver.pre_exec(|| {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                    Ok(())
                });
            }
            let mut driver = driver.spawn().expect("chromedriver starts; scripts/test installs it");
            let lines = BufReader::new(driver.stdout.take().expect("its output")).lines();
            for line in lines.map_while(Result::ok) {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    let _ = ready.send(port.trim_end_matches('.').to_owned());
                }
            }
            driver.wait().expect("chromedriver can be waited for");
        });
        let port = started.recv_timeout(PATIENCE).expect("chromedriver says where it listens");
        format!("http://127.0.0.1:{port}")
    })
}
