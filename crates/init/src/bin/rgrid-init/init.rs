//! The loop: sleep until something comes in or is due, then let everybody go on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rgrid_init::{Command, Event, InitState, Job, Message, OutputFile, PROTOCOL_VERSION, SecretPatterns};

use crate::host::Host;
use crate::inputs::Inputs;
use crate::journal::Journal;
use crate::outputs::{self, Wanted};
use crate::reset;
use crate::run::Run;
use crate::signals::Signals;
use crate::wire::Wire;

const BUFFER: usize = 64 * 1024;

/// Questions for outputs that wait for their answer.
const MAX_QUESTIONS: usize = 64;

pub struct Init {
    host: Host,
    signals: Signals,
    wire: Wire,
    journal: Journal,
    stage: Stage,
    questions: VecDeque<Wanted>,
    /// By any job so far.
    network_used: bool,
    buffer: Vec<u8>,
}

enum Stage {
    Parked {
        inputs: Inputs,
        until: Option<Instant>,
    },
    Running(Box<Run>),
    Ended {
        job: String,
        outputs: Vec<OutputFile>,
        until: Option<Instant>,
        /// Why no other job may follow.
        unfit: Option<&'static str>,
    },
    Over,
}

impl Init {
    pub fn new(host: Host) -> Result<Self, String> {
        let signals = Signals::new().map_err(|error| format!("signals can't be caught: {error}"))?;
        let wire = Wire::new(host.token.clone())
            .map_err(|error| format!("stdin or stdout can't be used: {error}"))?;
        let stage = Stage::Parked { inputs: Inputs::default(), until: after(host.park_ttl) };
        Ok(Self {
            host,
            signals,
            wire,
            journal: Journal::new(),
            stage,
            questions: VecDeque::new(),
            network_used: false,
            buffer: vec![0; BUFFER],
        })
    }

    pub fn run(mut self) -> Result<(), String> {
        while !matches!(self.stage, Stage::Over) {
            self.sleep().map_err(|error| format!("poll failed: {error}"))?;
            self.heed_termination();
            self.listen();
            self.advance_run();
            self.wire.send(|| next_message(&mut self.journal, &mut self.questions, &self.stage, &self.host));
            self.give_up_waiting();
        }
        Ok(())
    }

    fn sleep(&self) -> Result<(), Errno> {
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
        fds.extend(self.wire.readable().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.wire.writable().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        if let Stage::Running(run) = &self.stage {
            fds.extend(run.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        // Whose turn it is doesn't matter: nothing blocks, so everybody is asked.
        match poll(&mut fds, timeout(self.deadline())) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Parked { until, .. } | Stage::Ended { until, .. } => *until,
            Stage::Running(run) => run.deadline(),
            Stage::Over => None,
        }
    }

    /// SIGTERM, as `docker stop` sends it. A run goes on: its end is the daemon's decision (`Cancel`).
    fn heed_termination(&mut self) {
        if self.signals.take_termination() && !matches!(self.stage, Stage::Running(_)) {
            self.stage = Stage::Over;
        }
    }

    fn listen(&mut self) {
        if self.wire.receive(&mut self.buffer)
            && let Stage::Ended { until, .. } = &mut self.stage
        {
            *until = after(self.host.orphan_ttl);
        }
        while let Some(command) = self.wire.next_command() {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Resume { after } => self.resume(after),
            Command::File { name, offset, content } => self.write_input(&name, offset, &content),
            Command::Run(job) => self.start(job),
            Command::Ack { upto } => self.forget(upto),
            Command::Fetch { output, offset, max } => self.question(Wanted { output, offset, max }),
            Command::Cancel => self.cancel(),
            Command::Stop => self.stop(),
            Command::Renew { upto } => self.renew(upto),
        }
    }

    fn resume(&mut self, after: u64) {
        self.questions.clear();
        self.journal.forget(after);
        self.journal.rewind();
        let (state, job) = match &self.stage {
            Stage::Parked { .. } => (InitState::Parked, None),
            Stage::Running(run) => (InitState::Running, Some(run.id().to_owned())),
            Stage::Ended { job, .. } => (InitState::Ended, Some(job.clone())),
            Stage::Over => return,
        };
        self.wire.begin(&Message::Hello { version: PROTOCOL_VERSION, state, job });
        self.forget(after);
    }

    fn write_input(&mut self, name: &str, offset: u64, content: &[u8]) {
        let written = match &mut self.stage {
            Stage::Parked { inputs, until } => {
                // The hand-over has begun: the job is on its way.
                *until = after(self.host.park_ttl);
                inputs.write(&self.host.workspace, name, offset, content)
            }
            _ => Err(format!("The file `{name}` came after the job was started.")),
        };
        if let Err(reason) = written {
            self.wire.say(&Message::Refused { reason });
        }
    }

    fn start(&mut self, job: Job) {
        let Stage::Parked { inputs, .. } = &mut self.stage else { return };
        let inputs = std::mem::take(inputs);
        let values = job.secrets.iter().map(|(_, value)| value.as_str());
        let patterns = match inputs.failure() {
            Some(reason) => Err(reason.to_owned()),
            None => {
                SecretPatterns::new(values).map_err(|error| format!("The secrets can't be masked: {error}."))
            }
        };
        let patterns = match patterns {
            Ok(patterns) => patterns,
            Err(reason) => {
                self.journal.append(Event::Exit(Run::refused(&reason)));
                let until = after(self.host.orphan_ttl);
                self.stage = Stage::Ended { job: job.id, outputs: vec![], until, unfit: None };
                return;
            }
        };
        let names = inputs.into_names();
        let run = Run::start(job, patterns, names, &self.host, &self.signals, &mut self.journal);
        self.stage = Stage::Running(Box::new(run));
    }

    fn advance_run(&mut self) {
        let Stage::Running(run) = &mut self.stage else { return };
        let exit = run.advance(&mut self.buffer, &self.host, &self.signals, &mut self.journal);
        if let Some(mut exit) = exit {
            self.network_used |= exit.network_used;
            exit.network_used = self.network_used;
            let (job, outputs, unfit) = (run.id().to_owned(), exit.outputs.clone(), run.unfit());
            self.journal.append(Event::Exit(exit));
            self.stage = Stage::Ended { job, outputs, until: after(self.host.orphan_ttl), unfit };
        }
    }

    fn forget(&mut self, upto: u64) {
        self.journal.forget(upto);
        // The exit is the last event: once it is stored there is nothing left to stay for.
        if matches!(self.stage, Stage::Ended { .. }) && self.journal.is_empty() {
            self.stage = Stage::Over;
        }
    }

    fn question(&mut self, wanted: Wanted) {
        if self.questions.len() < MAX_QUESTIONS {
            self.questions.push_back(wanted);
        } else {
            self.refuse("There are too many questions for outputs at once.");
        }
    }

    fn cancel(&mut self) {
        match &mut self.stage {
            Stage::Running(run) => run.cancel(Instant::now()),
            Stage::Parked { .. } => self.refuse("There is no run to cancel."),
            Stage::Ended { .. } | Stage::Over => {}
        }
    }

    fn stop(&mut self) {
        if matches!(self.stage, Stage::Running(_)) {
            self.refuse("A run is under way: cancel it first.");
        } else {
            self.stage = Stage::Over;
        }
    }

    /// Event numbers go on, so that a word about an event of the former job never means one of the next.
    fn renew(&mut self, upto: u64) {
        let Stage::Ended { unfit, .. } = self.stage else {
            return self.refuse("There is no run that has ended.");
        };
        self.journal.forget(upto);
        if !self.journal.is_empty() {
            return self.refuse("The end of the run is not stored yet.");
        }
        match unfit.map_or_else(|| reset::up(&mut self.host), |why| Err(why.to_owned())) {
            Ok(()) => {
                self.questions.clear();
                self.stage = Stage::Parked { inputs: Inputs::default(), until: after(self.host.park_ttl) };
                self.wire.say(&Message::Renewed);
            }
            Err(reason) => {
                self.refuse(&reason);
                self.stage = Stage::Over;
            }
        }
    }

    fn refuse(&mut self, reason: &str) {
        self.wire.say(&Message::Refused { reason: reason.to_owned() });
    }

    fn give_up_waiting(&mut self) {
        let now = Instant::now();
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Parked { .. } if self.wire.is_deaf() => Stage::Over,
            Stage::Parked { until: Some(at), .. } | Stage::Ended { until: Some(at), .. } if at <= now => {
                Stage::Over
            }
            stage => stage,
        };
    }
}

/// Events go first: an answer about outputs can wait for the story that names them.
fn next_message(
    journal: &mut Journal,
    questions: &mut VecDeque<Wanted>,
    stage: &Stage,
    host: &Host,
) -> Option<Message> {
    if let Some((seq, event)) = journal.take_next() {
        return Some(Message::Event { seq, event });
    }
    let wanted = questions.pop_front()?;
    let Stage::Ended { outputs, .. } = stage else {
        return Some(Message::Refused {
            reason: "There are no outputs before the run has ended.".to_owned(),
        });
    };
    Some(outputs::read(host, outputs, &wanted).unwrap_or_else(|reason| Message::Refused { reason }))
}

/// `None` when that lies beyond what the clock can tell: then it never comes.
fn after(ttl: Duration) -> Option<Instant> {
    Instant::now().checked_add(ttl)
}

/// Rounded up: a millisecond too early would wake the init in vain, again and again.
pub fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    let milliseconds = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}
