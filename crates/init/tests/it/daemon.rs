//! A daemon as small as can be: one init, one conversation.

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

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Sandbox {
    child: Child,
    stdin: ChildStdin,
    token: Token,
    folder: PathBuf,
    decoder: Decoder<Message>,
    /// Read only while a test waits for a message.
    stdout: ChildStdout,
}

/// What was told up to the exit.
pub struct Told {
    pub events: Vec<Event>,
    pub first: u64,
    pub last: u64,
    pub exit: Exit,
}

impl Told {
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

    /// Stands for `/tmp` and the like.
    pub fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// 1000 as root, else whoever tests.
    pub fn script_uid(&self) -> u32 {
        match fs::metadata(&self.folder).unwrap().uid() {
            0 => 1000,
            other => other,
        }
    }

    /// A new connection; what an older one left unread is dropped by the new decoder.
    pub fn connect(&mut self, after: u64) -> (InitState, Option<String>) {
        self.send_resume(after);
        self.decoder = Decoder::new(self.token.clone());
        match self.next() {
            Message::Hello { version, state, job } => {
                assert_eq!(version, rgrid_init::PROTOCOL_VERSION);
                (state, job)
            }
            other => panic!("{other:?} instead of a hello"),
        }
    }

    pub fn send_resume(&mut self, after: u64) {
        self.say_bytes(self.token.clone().as_bytes());
        self.say(&Command::Resume { after });
    }

    pub fn run(&mut self, job: Job) {
        self.say(&Command::Run(job));
    }

    pub fn say(&mut self, command: &Command) {
        self.say_bytes(&encode(command).unwrap());
    }

    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.stdin.write_all(bytes).unwrap();
    }

    pub fn next(&mut self) -> Message {
        let deadline = Instant::now() + PATIENCE;
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
        assert_eq!(ready, 1, "no message in time");
        let mut buffer = [0; 10_000];
        let count = self.stdout.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "the init has ended");
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

    /// Everything up to the exit, checked for gaps.
    pub fn until_exit(&mut self) -> Told {
        let (mut events, mut first) = (Vec::new(), None);
        loop {
            let Message::Event { seq, event } = self.next() else { continue };
            let first = *first.get_or_insert(seq);
            assert_eq!(seq, first + events.len() as u64, "a gap in the numbers");
            events.push(event.clone());
            if let Event::Exit(exit) = event {
                return Told { events, first, last: seq, exit };
            }
        }
    }

    pub fn fetch(&mut self, output: u32) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            self.say(&Command::Fetch { output, offset: whole.len() as u64, max: 100_000 });
            let Message::Piece { content, last, .. } = self.next() else { panic!("no piece") };
            whole.extend(content);
            if last {
                return whole;
            }
        }
    }

    /// The script has been started, and has ended.
    pub fn wait_until_the_script_has_gone(&self) {
        let path = format!("/proc/{0}/task/{0}/children", self.id());
        let children = || fs::read_to_string(&path).unwrap().split_whitespace().count();
        wait_until(|| children() > 0);
        wait_until(|| children() == 0);
    }

    /// The exit code, once the init has ended by itself.
    pub fn end(&mut self) -> Option<i32> {
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

/// Asks again and again, with a deadline; the pauses only spare the processor.
fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        sleep(Duration::from_millis(5));
    }
}

/// A folder with a workspace in it, like that of a container: sticky, writable for everybody.
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
