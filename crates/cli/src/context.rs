//! What every command needs: the console, and the way to the server.

use crate::client::target::{Target, TargetOptions};
use crate::client::{Patience, Server};
use crate::error::Failure;
use crate::output::console::Console;

pub struct Session {
    pub console: Console,
    pub options: TargetOptions,
}

impl Session {
    /// For a command that wants an answer now.
    pub fn server(&self) -> Result<Server<'_>, Failure> {
        Ok(Server::new(Target::find(&self.options)?, Patience::Answer, &self.console))
    }

    /// For a command that waits for an end.
    pub fn patient_server(&self) -> Result<Server<'_>, Failure> {
        Ok(Server::new(Target::find(&self.options)?, Patience::End, &self.console))
    }
}
