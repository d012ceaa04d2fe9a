//! Staying with an execution until its end: its output, its files, its exit code.

use rgrid_api::Execution;

use crate::client::Server;
use crate::download::destination::{Destination, Existing};
use crate::download::outputs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::{Channel, Console};
use crate::output::report::{self, Seen};
use crate::watch::follow::{self, follow};
use crate::watch::interrupt::{Interrupt, Stage};
use crate::watch::phases::Phases;
use crate::watch::waiting::{self, Install};

/// When the output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it happens.
    Follow,
    /// At the end.
    Wait,
}

pub struct Attendance<'a> {
    pub server: &'a Server<'a>,
    pub console: &'a Console,
    pub interrupt: Interrupt,
    pub install: Install,
    /// The script's output alone.
    pub quiet: bool,
}

impl Attendance<'_> {
    pub fn until_end(
        &self,
        submitted: &Execution,
        manner: Manner,
        destination: Option<&Destination>,
    ) -> Result<Exit, Failure> {
        let mut phases = if self.quiet { Phases::untold() } else { Phases::told_on(self.console) };
        phases.see(submitted);
        let ended = match manner {
            Manner::Follow => self.follow(&submitted.id, &mut phases),
            Manner::Wait => self.wait(&submitted.id, &mut phases),
        };
        let ended = ended.map_err(|failure| match failure.exit {
            Exit::Unreachable => failure.hint(format!(
                "{id} was accepted, and is run all the same; when the server is back, go on with `rgrid logs -f {id}`",
                id = submitted.id
            )),
            _ => failure,
        })?;
        self.interrupt.now(Stage::Ended);
        let exit = report::conclude(&ended, Seen::Output, self.console);
        match self.save(&ended, destination) {
            Ok(()) => Ok(exit),
            // The script's own code says more than that its files could not be saved.
            Err(failure) if exit == Exit::Fine && failure.hint.is_some() => Err(failure),
            Err(failure) if exit == Exit::Fine => {
                Err(failure.hint(format!("save them elsewhere with `rgrid download {} -o DIR`", ended.id)))
            }
            Err(failure) => {
                self.console.error(&failure);
                Ok(exit)
            }
        }
    }

    fn follow(&self, id: &str, phases: &mut Phases) -> Result<Execution, Failure> {
        let streams = match self.install {
            Install::IncrementalText => follow::INSTALL_AND_OUTPUT.as_slice(),
            Install::None => follow::OUTPUT.as_slice(),
        };
        follow(self.server, id, streams, phases, self.console)
    }

    fn wait(&self, id: &str, phases: &mut Phases) -> Result<Execution, Failure> {
        let ended = waiting::with_phases(self.server, id, self.install, phases, self.console)?;
        let shown = self.console.said(Channel::Out, ended.stdout.as_deref().unwrap_or_default());
        // Whoever closed the pipe still wants the exit code.
        if let Err(failure) = shown
            && !failure.is_silent()
        {
            return Err(failure);
        }
        self.console.said(Channel::Err, ended.stderr.as_deref().unwrap_or_default())?;
        Ok(ended)
    }

    fn save(&self, ended: &Execution, destination: Option<&Destination>) -> Result<(), Failure> {
        let Some(destination) = destination else {
            if !ended.files().is_empty() && !self.quiet {
                let (count, id) = (outputs::counted(ended.files()), &ended.id);
                self.console.hint(&format!("it left {count}; save them here with `rgrid download {id}`"));
            }
            return Ok(());
        };
        outputs::save(self.server, &ended.id, ended.files(), destination, Existing::Keep, |path| {
            if !self.quiet {
                self.console.progress(&format!("Saved: {path}"));
            }
            Ok(())
        })
    }
}
