//! A headless Chromium, controlled through chromedriver with the W3C WebDriver protocol.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use crate::support::wait_until;

/// The protocol's key for an element's ID.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Browser {
    driver: Child,
    /// Kept open because chromedriver may still write to it.
    _said: Lines<BufReader<ChildStdout>>,
    session: String,
    agent: ureq::Agent,
}

impl Browser {
    pub fn open(width: u32, height: u32, dark: bool) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is no chromedriver: run `make test-extra`, which brings it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let port = line.split("on port ").nth(1)?;
            port.trim_end_matches('.').parse::<u16>().ok().filter(|port| *port > 0)
        });
        let base = format!("http://127.0.0.1:{}", port.expect("chromedriver did not print its port"));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE * 2))
            .build();
        let mut browser = Self { driver, _said: lines, session: base, agent: config.into() };
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--hide-scrollbars".into(),
            format!("--window-size={width},{height}"),
        ];
        if dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let session = browser.post("/session", &wanted);
        browser.session = format!("{}/session/{}", browser.session, session["sessionId"].as_str().unwrap());
        // Windows have a minimum width; pages have none.
        let metrics = json!({ "cmd": "Emulation.setDeviceMetricsOverride",
            "params": { "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 } });
        browser.post("/goog/cdp/execute", &metrics);
        browser
    }

    /// Disables JavaScript for the following pages.
    pub fn without_scripts(&self) {
        let off = json!({ "cmd": "Emulation.setScriptExecutionDisabled", "params": { "value": true } });
        self.post("/goog/cdp/execute", &off);
    }

    pub fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    pub fn url(&self) -> String {
        self.get("/url").as_str().unwrap().to_owned()
    }

    pub fn title(&self) -> String {
        self.get("/title").as_str().unwrap().to_owned()
    }

    /// The visible text of the first matching element.
    pub fn text(&self, css: &str) -> Option<String> {
        let element = self.find(css)?;
        // The element may have been replaced in between.
        Some(self.get(&format!("/element/{element}/text")).as_str().unwrap_or_default().to_owned())
    }

    pub fn count(&self, css: &str) -> usize {
        self.post("/elements", &json!({ "using": "css selector", "value": css }))
            .as_array()
            .map_or(0, Vec::len)
    }

    pub fn click(&self, css: &str) {
        let element = self.find(css).unwrap_or_else(|| panic!("nothing to click at {css}"));
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    pub fn write(&self, css: &str, text: &str) {
        let element = self.find(css).unwrap_or_else(|| panic!("nothing to write into at {css}"));
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    pub fn wait_for_text(&self, css: &str, part: &str) -> String {
        wait_until(&format!("{part:?} at {css}"), PATIENCE, || {
            self.text(css).filter(|text| text.contains(part))
        })
    }

    /// Errors of the page's scripts, and violations of its Content-Security-Policy.
    pub fn errors(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub fn screenshot(&self, name: &str) {
        let png = self.get("/screenshot");
        let bytes = base64::prelude::BASE64_STANDARD.decode(png.as_str().unwrap()).unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    fn find(&self, css: &str) -> Option<String> {
        let found = self.post("/element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().map(str::to_owned)
    }

    fn get(&self, path: &str) -> Value {
        value(self.agent.get(format!("{}{path}", self.session)).call())
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request =
            self.agent.post(format!("{}{path}", self.session)).header("content-type", "application/json");
        value(request.send(body.to_string().as_bytes()))
    }
}

fn value(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let text = answer.unwrap().body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    answer["value"].take()
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
