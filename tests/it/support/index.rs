//! A private package index on this host. It counts requests and can delay its answers.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::{Arc, Condvar, Mutex};

use crate::support::serving::{Content, serve};
use crate::support::zip::zip;

const PAGE: &str = "text/html";

pub struct Index {
    host: String,
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// By file name.
    files: Mutex<HashMap<String, Vec<u8>>>,
    /// Number of requests by path.
    requests: Mutex<HashMap<String, usize>>,
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Index {
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let port = serve("0.0.0.0", move |path| served.answer(path));
        Self { host: own_address(), port, shared }
    }

    /// Adds a wheel with one module that defines `VERSION`.
    pub fn with_module(self, name: &str, version: &str) -> Self {
        let info = format!("{name}-{version}.dist-info");
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        let wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let content = zip(&[
            (&format!("{name}.py"), &format!("VERSION = '{version}'\n")),
            (&format!("{info}/METADATA"), &metadata),
            (&format!("{info}/WHEEL"), wheel),
            (&format!("{info}/RECORD"), ""),
        ]);
        self.with_file(&format!("{name}-{version}-py3-none-any.whl"), content)
    }

    /// Adds a source distribution whose build runs this Python code.
    pub fn with_build(self, name: &str, code: &str) -> Self {
        let folder = format!("{name}-1.0");
        let project = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n";
        let backend =
            format!("def build_wheel(*arguments, **options):\n    {}\n", code.replace('\n', "\n    "));
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
        let content = zip(&[
            (&format!("{folder}/pyproject.toml"), project),
            (&format!("{folder}/backend.py"), &backend),
            (&format!("{folder}/PKG-INFO"), &metadata),
        ]);
        self.with_file(&format!("{name}-1.0.zip"), content)
    }

    fn with_file(self, name: &str, content: Vec<u8>) -> Self {
        self.shared.files.lock().unwrap().insert(name.to_owned(), content);
        self
    }

    /// Delays all answers until [`Index::open`].
    pub fn closed(self) -> Self {
        *self.shared.closed.lock().unwrap() = true;
        self
    }

    pub fn open(&self) {
        *self.shared.closed.lock().unwrap() = false;
        self.shared.opened.notify_all();
    }

    pub fn url(&self) -> String {
        format!("http://{}:{}/simple", self.host, self.port)
    }

    /// Requirements that use this index.
    pub fn requirements(&self, lines: &str) -> String {
        format!("--index-url {}\n--trusted-host {}\n{lines}\n", self.url(), self.host)
    }

    /// Number of requests for the page of a package.
    pub fn asked_for(&self, package: &str) -> usize {
        self.shared.requests.lock().unwrap().get(&format!("/simple/{package}/")).copied().unwrap_or(0)
    }
}

/// The address of this host's default route. Connecting a UDP socket sends nothing.
pub fn own_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket
        .connect("203.0.113.1:9")
        .expect("this host has no default route, so sandboxes cannot reach the index");
    socket.local_addr().unwrap().ip().to_string()
}

impl Drop for Index {
    fn drop(&mut self) {
        self.open();
    }
}

impl Shared {
    fn answer(&self, path: &str) -> Content {
        *self.requests.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        drop(self.opened.wait_while(self.closed.lock().unwrap(), |closed| *closed).unwrap());
        self.content(path)
    }

    fn content(&self, path: &str) -> Content {
        let files = self.files.lock().unwrap();
        if let Some(name) = path.strip_prefix("/files/") {
            return Some(("application/octet-stream", files.get(name)?.clone()));
        }
        let package = path.strip_prefix("/simple/")?.trim_end_matches('/');
        let begin = format!("{package}-");
        let names: Vec<_> = files.keys().filter(|name| name.starts_with(&begin)).collect();
        let link = |name: &String| format!("<a href=\"/files/{name}\">{name}</a>\n");
        let links: String = names.iter().map(|name| link(name)).collect();
        (!names.is_empty())
            .then(|| (PAGE, format!("<!DOCTYPE html><html><body>{links}</body></html>").into()))
    }
}
