//! A minimal daemon for one init.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use rgrid_init::{
    Command, Decoder, Event, Exit, InitState, Job, Limits, Message, Received, Stream, Token, encode,
};

pub const INIT: &str = env!("CARGO_BIN_EXE_rgrid-init");

const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Sandbox {
    child: Child,
    stdin: ChildStdin,
    token: Token,
    folder: PathBuf,
    decoder: Decoder<Message>,
    /// Read only while a test waits for a message.
    stdout: ChildStdout,
}

/// The events of a job.
pub struct JobEvents {
    pub events: Vec<Event>,
    pub first: u64,
    pub last: u64,
    pub exit: Exit,
}

impl JobEvents {
    pub fn texts(&self, wanted: Stream) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(move |event| match event {
            Event::Output { stream, text } if *stream == wanted => Some(text.as_str()),
            _ => None,
        })
    }

    pub fn text(&self, wanted: Stream) -> String {
        self.texts(wanted).collect()
    }
}

pub fn shell(script: &str) -> Job {
    job(&["sh", "-c", script])
}

pub fn job(argv: &[&str]) -> Job {
    let env = [("NAME", "value"), ("PATH", "/usr/bin:/bin")];
    Job {
        id: "job".to_owned(),
        setup: None,
        argv: argv.iter().map(|&part| part.to_owned()).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        secrets: Vec::new(),
        limits: Limits {
            timeout_ms: 60_000,
            grace_ms: 5_000,
            output_limit: 100_000,
            max_outputs: 100,
            max_output_bytes: 1 << 20,
        },
    }
}

impl Sandbox {
    pub fn start() -> Self {
        Self::start_with(60_000, 60_000)
    }

    pub fn running(job: Job) -> Self {
        let mut sandbox = Self::start();
        sandbox.connect(0);
        sandbox.run(job);
        sandbox
    }

    pub fn start_with(park_ms: u64, orphan_ms: u64) -> Self {
        let folder = new_folder();
        let token = Token::from_random(*b"sixteen bytes ok");
        let mut child = Program::new(INIT)
            .env("RGRID_TOKEN", token.as_str())
            .env("RGRID_PARK_TTL_MS", park_ms.to_string())
            .env("RGRID_ORPHAN_TTL_MS", orphan_ms.to_string())
            .env("RGRID_WORKSPACE", folder.join("workspace"))
            .env("RGRID_SCRATCH", folder.join("scratch"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let decoder = Decoder::new(token.clone());
        Self { child, stdin, token, folder, decoder, stdout }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn workspace(&self) -> PathBuf {
        self.folder.join("workspace")
    }

    /// Replaces `/tmp` and similar folders.
    pub fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// 1000 as root, otherwise the user that runs the tests.
    pub fn script_uid(&self) -> u32 {
        match fs::metadata(&self.folder).unwrap().uid() {
            0 => 1000,
            other => other,
        }
    }

    /// Starts a new connection; its decoder drops unread bytes of an older one.
    pub fn connect(&mut self, after: u64) -> (InitState, Option<String>) {
        self.send_resume(after);
        self.decoder = Decoder::new(self.token.clone());
        match self.next() {
            Message::Hello { version, state, job } => {
                assert_eq!(version, rgrid_init::PROTOCOL_VERSION);
                (state, job)
            }
            other => panic!("expected Hello, got {other:?}"),
        }
    }

    pub fn send_resume(&mut self, after: u64) {
        self.send_bytes(self.token.clone().as_bytes());
        self.send(&Command::Resume { after });
    }

    pub fn run(&mut self, job: Job) {
        self.send(&Command::Run(job));
    }

    pub fn send(&mut self, command: &Command) {
        self.send_bytes(&encode(command).unwrap());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stdin.write_all(bytes).unwrap();
    }

    pub fn next(&mut self) -> Message {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.decoder.next().unwrap() {
                Some(Received::Frame(message)) => return message,
                Some(Received::Connected) => {}
                None => self.read(deadline),
            }
        }
    }

    fn read(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap();
        assert_eq!(ready, 1, "timed out waiting for a message");
        let mut buffer = [0; 10_000];
        let count = self.stdout.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "the init has exited");
        self.decoder.push(&buffer[..count]);
    }

    pub fn wait_for_text(&mut self, wanted: &str) {
        loop {
            if let Message::Event { event: Event::Output { text, .. }, .. } = self.next() {
                assert_eq!(text, wanted);
                return;
            }
        }
    }

    /// All events up to the exit, whose numbers must have no gaps.
    pub fn until_exit(&mut self) -> JobEvents {
        let (mut events, mut first) = (Vec::new(), None);
        loop {
            let Message::Event { seq, event } = self.next() else { continue };
            let first = *first.get_or_insert(seq);
            assert_eq!(seq, first + events.len() as u64, "gap in the event numbers");
            events.push(event.clone());
            if let Event::Exit(exit) = event {
                return JobEvents { events, first, last: seq, exit };
            }
        }
    }

    pub fn fetch(&mut self, output: u32) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            self.send(&Command::Fetch { output, offset: whole.len() as u64, max: 100_000 });
            let Message::Piece { content, last, .. } = self.next() else { panic!("expected a piece") };
            whole.extend(content);
            if last {
                return whole;
            }
        }
    }

    /// Waits until the script was started and has exited.
    pub fn wait_for_script_exit(&self) {
        let path = format!("/proc/{0}/task/{0}/children", self.id());
        let children = || fs::read_to_string(&path).unwrap().split_whitespace().count();
        wait_until(|| children() > 0);
        wait_until(|| children() == 0);
    }

    /// Waits until the init exits and returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        wait_until(|| self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Polls a condition, with a deadline.
fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting for a condition");
        sleep(Duration::from_millis(5));
    }
}

/// A folder with a workspace like that of a container: sticky and writable for all users.
fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("rgrid-init-{}-{number}", std::process::id()));
    for name in ["workspace", "scratch"] {
        let place = folder.join(name);
        fs::create_dir_all(&place).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o1777)).unwrap();
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    folder
}
