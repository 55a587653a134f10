//! A real browser without a window, as a person with a keyboard uses it, by its debugging protocol over two pipes:
//! <https://chromedevtools.github.io/devtools-protocol/>. It reaches loopback only.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    bed::{self, unique},
    operator::is_root,
    wait::PATIENCE,
};

/// What turns the pipes of a child, which has no others, into those that the browser listens to.
const PIPES: &str = "exec 3<&0 4>&1 </dev/null >/dev/null; exec \"$@\"";

/// A browser with one page.
pub struct Browser {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    next: u64,
    /// What the page reported that nobody asked for.
    events: Vec<Value>,
}

// === impl Browser ===

impl Browser {
    /// Starts this program, and opens an empty page.
    pub fn start(program: &str) -> Self {
        let profile = bed::folder("it").join(unique("browser"));
        let mut command = Command::new("sh");
        command
            .args(["-c", PIPES, "sh", program, "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"])
            .args(["--disable-background-networking", "--no-proxy-server", "--lang=en"])
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
            .arg(format!("--user-data-dir={}", profile.display()))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &profile);
        if is_root() {
            command.arg("--no-sandbox");
        }
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = pipes.spawn().expect("the browser starts");
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let (sender, messages) = channel();
        let answers = BufReader::new(answers.expect("it is piped"));
        thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the browser speaks JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let requests = requests.expect("it is piped");
        let mut browser = Self { child, requests, messages, session: None, next: 0, events: Vec::new() };
        browser.open_page();
        browser
    }

    fn open_page(&mut self) {
        let target = self.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", &attached);
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Asks for something, and returns the answer.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let mut request = json!({"id": self.next, "method": method, "params": params});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        let mut bytes = request.to_string().into_bytes();
        bytes.push(0);
        self.requests.write_all(&bytes).expect("the browser reads");
        loop {
            let mut message = self.message(method);
            if message["id"] == self.next {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    fn message(&mut self, what: &str) -> Value {
        self.messages
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("the browser does not answer to {what}"))
    }

    /// Does something that leads to another page, and waits until that is loaded.
    pub fn load(&mut self, act: impl FnOnce(&mut Self)) {
        let begin = self.events.len();
        act(self);
        let mut looked = begin;
        loop {
            if self.events[looked..].iter().any(|event| event["method"] == "Page.loadEventFired") {
                return;
            }
            looked = self.events.len();
            let message = self.message("load");
            self.events.push(message);
        }
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        self.load(|browser| drop(browser.call("Page.navigate", &json!({"url": url}))));
    }

    /// What an expression is worth in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression:.200}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => panic!("no test presses {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    /// Types a text.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Has the page in `light` or `dark`.
    pub fn prefer(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", &json!({"features": [feature]}));
    }

    /// Has a window of this size.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Writes a picture of the window.
    pub fn screenshot(&mut self, file: &Path) {
        let picture = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let picture = STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("it is base64");
        std::fs::write(file, picture).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// What the page reported until now: errors, what its policy forbade, other issues.
    pub fn complaints(&self) -> Vec<&Value> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Audits.issueAdded") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        self.events.iter().filter(is_complaint).collect()
    }

    /// The addresses that were asked for until now.
    pub fn requested(&self) -> Vec<&str> {
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes end with this one.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
