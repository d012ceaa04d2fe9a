//! The event loop: sleeps until input arrives or a deadline expires, then lets every part do what it can.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rgrid_init::{
    Command, Event, Exit, ExitReason, InitState, Job, Message, OutputFile, PROTOCOL_VERSION, SecretPatterns,
};

use crate::connection::Connection;
use crate::inputs::Inputs;
use crate::job::RunningJob;
use crate::journal::Journal;
use crate::outputs::{self, OutputRequest};
use crate::reset::reset;
use crate::sandbox::Sandbox;

const BUFFER: usize = 64 * 1024;

/// Maximum number of unanswered `Fetch` commands.
const MAX_REQUESTS: usize = 64;

pub struct Init {
    sandbox: Sandbox,
    connection: Connection,
    journal: Journal,
    state: State,
    requests: VecDeque<OutputRequest>,
    /// By any job so far.
    network_used: bool,
    buffer: Vec<u8>,
}

/// A deadline of `None` is too far away for the clock.
enum State {
    Parked {
        inputs: Inputs,
        deadline: Option<Instant>,
    },
    Running(Box<RunningJob>),
    Ended {
        job: String,
        outputs: Vec<OutputFile>,
        deadline: Option<Instant>,
        /// Why no other job may use this sandbox.
        not_reusable: Option<&'static str>,
    },
    Finished,
}

impl Init {
    pub fn new(sandbox: Sandbox) -> Result<Self, String> {
        Ok(Self {
            connection: Connection::new(sandbox.token.clone())?,
            journal: Journal::new(),
            state: State::parked(&sandbox),
            requests: VecDeque::new(),
            network_used: false,
            buffer: vec![0; BUFFER],
            sandbox,
        })
    }

    pub fn run(mut self) -> Result<(), String> {
        while !matches!(self.state, State::Finished) {
            self.sleep().map_err(|error| format!("poll failed: {error}"))?;
            // `docker stop` sends SIGTERM. A running job continues, because only the daemon may cancel it.
            if self.sandbox.signals.take_sigterm() && !matches!(self.state, State::Running(_)) {
                self.state = State::Finished;
            }
            self.receive();
            self.advance_job();
            self.send();
            self.check_deadline();
        }
        Ok(())
    }

    fn sleep(&self) -> Result<(), Errno> {
        let mut fds = vec![PollFd::new(self.sandbox.signals.fd(), PollFlags::POLLIN)];
        fds.extend(self.connection.input_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.connection.output_fd().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        if let State::Running(job) = &self.state {
            fds.extend(job.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        let deadline = match &self.state {
            State::Parked { deadline, .. } | State::Ended { deadline, .. } => *deadline,
            State::Running(job) => job.deadline(),
            State::Finished => None,
        };
        // It does not matter which descriptor is ready: no call blocks, so all of them are tried.
        match poll(&mut fds, poll_timeout(deadline)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn receive(&mut self) {
        let received = self.connection.receive(&mut self.buffer);
        if received && let State::Ended { deadline, .. } = &mut self.state {
            *deadline = after(self.sandbox.orphan_ttl);
        }
        while let Some(command) = self.connection.next_command() {
            match command {
                Command::Resume { after } => self.resume(after),
                Command::File { name, offset, content } => self.write_input(&name, offset, &content),
                Command::Run(job) => self.start(job),
                Command::Ack { upto } => self.remove_stored(upto),
                Command::Fetch { output, offset, max } => self.fetch(OutputRequest { output, offset, max }),
                Command::Cancel => self.cancel(),
                Command::Stop => self.stop(),
                Command::Renew { upto } => self.renew(upto),
            }
        }
    }

    fn resume(&mut self, after: u64) {
        self.requests.clear();
        self.journal.remove_stored(after);
        self.journal.rewind();
        let (state, job) = match &self.state {
            State::Parked { .. } => (InitState::Parked, None),
            State::Running(job) => (InitState::Running, Some(job.id().to_owned())),
            State::Ended { job, .. } => (InitState::Ended, Some(job.clone())),
            State::Finished => return,
        };
        self.connection.resume(&Message::Hello { version: PROTOCOL_VERSION, state, job });
        self.remove_stored(after);
    }

    fn write_input(&mut self, name: &str, offset: u64, content: &[u8]) {
        let result = match &mut self.state {
            State::Parked { inputs, deadline } => {
                // A job will follow.
                *deadline = after(self.sandbox.park_ttl);
                inputs.write(&self.sandbox.workspace, name, offset, content)
            }
            _ => Err(format!("The file `{name}` arrived after the job was started.")),
        };
        if let Err(reason) = result {
            self.refuse(&reason);
        }
    }

    fn start(&mut self, job: Job) {
        let State::Parked { inputs, .. } = &mut self.state else { return };
        let inputs = std::mem::take(inputs);
        let secrets = match inputs.failure() {
            Some(reason) => Err(reason.to_owned()),
            None => SecretPatterns::new(job.secrets.iter().map(|(_, value)| value.as_str()))
                .map_err(|error| format!("The secrets cannot be masked: {error}.")),
        };
        match secrets {
            Ok(secrets) => {
                let names = inputs.into_names();
                let job = RunningJob::start(job, secrets, names, &self.sandbox, &mut self.journal);
                self.state = State::Running(Box::new(job));
            }
            Err(reason) => self.end(job.id, Exit::new(ExitReason::CouldNotStart { reason }), None),
        }
    }

    fn advance_job(&mut self) {
        let State::Running(job) = &mut self.state else { return };
        if let Some(mut exit) = job.advance(&mut self.buffer, &self.sandbox, &mut self.journal) {
            let (id, not_reusable) = (job.id().to_owned(), job.not_reusable());
            self.network_used |= exit.network_used;
            exit.network_used = self.network_used;
            self.end(id, exit, not_reusable);
        }
    }

    fn end(&mut self, job: String, exit: Exit, not_reusable: Option<&'static str>) {
        let (outputs, deadline) = (exit.outputs.clone(), after(self.sandbox.orphan_ttl));
        self.journal.append(Event::Exit(exit));
        self.state = State::Ended { job, outputs, deadline, not_reusable };
    }

    fn remove_stored(&mut self, upto: u64) {
        self.journal.remove_stored(upto);
        // The exit is the last event.
        if matches!(self.state, State::Ended { .. }) && self.journal.is_empty() {
            self.state = State::Finished;
        }
    }

    fn fetch(&mut self, request: OutputRequest) {
        if self.requests.len() < MAX_REQUESTS {
            self.requests.push_back(request);
        } else {
            self.refuse("Too many output files were requested at once.");
        }
    }

    fn cancel(&mut self) {
        match &mut self.state {
            State::Running(job) => job.cancel(Instant::now()),
            State::Parked { .. } => self.refuse("There is no job to cancel."),
            State::Ended { .. } | State::Finished => {}
        }
    }

    fn stop(&mut self) {
        if matches!(self.state, State::Running(_)) {
            self.refuse("A job is running: cancel it first.");
        } else {
            self.state = State::Finished;
        }
    }

    /// Event numbers continue, so a late acknowledgement for the previous job never applies to the next one.
    fn renew(&mut self, upto: u64) {
        let State::Ended { not_reusable, .. } = self.state else {
            return self.refuse("There is no job that has ended.");
        };
        self.journal.remove_stored(upto);
        if !self.journal.is_empty() {
            return self.refuse("The end of the job is not stored yet.");
        }
        match not_reusable.map_or_else(|| reset(&mut self.sandbox), |reason| Err(reason.to_owned())) {
            Ok(()) => {
                self.requests.clear();
                self.state = State::parked(&self.sandbox);
                self.connection.reply(&Message::Renewed);
            }
            Err(reason) => {
                self.refuse(&reason);
                self.state = State::Finished;
            }
        }
    }

    fn refuse(&mut self, reason: &str) {
        self.connection.reply(&Message::Refused { reason: reason.to_owned() });
    }

    /// Sends events first, because replies about outputs refer to the exit event.
    fn send(&mut self) {
        let Self { sandbox, connection, journal, state, requests, .. } = self;
        connection.send(|| {
            if let Some((seq, event)) = journal.take_next() {
                return Some(Message::Event { seq, event });
            }
            let request = requests.pop_front()?;
            let reply = match state {
                State::Ended { outputs, .. } => outputs::read(sandbox, outputs, &request),
                _ => Err("There are no output files before the job has ended.".to_owned()),
            };
            Some(reply.unwrap_or_else(|reason| Message::Refused { reason }))
        });
    }

    fn check_deadline(&mut self) {
        let expired = match &self.state {
            State::Parked { .. } if self.connection.is_closed() => true,
            State::Parked { deadline, .. } | State::Ended { deadline, .. } => {
                deadline.is_some_and(|deadline| deadline <= Instant::now())
            }
            State::Running(_) | State::Finished => false,
        };
        if expired {
            self.state = State::Finished;
        }
    }
}

impl State {
    fn parked(sandbox: &Sandbox) -> Self {
        State::Parked { inputs: Inputs::default(), deadline: after(sandbox.park_ttl) }
    }
}

fn after(ttl: Duration) -> Option<Instant> {
    Instant::now().checked_add(ttl)
}

/// Rounded up to milliseconds: waking too early would make the init poll in a loop.
pub fn poll_timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}
