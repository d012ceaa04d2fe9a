//! What every command needs: the console and a client for the server.

use crate::client::target::{Target, TargetOptions};
use crate::client::{Client, RetryMode};
use crate::error::CliError;
use crate::output::console::Console;

pub struct Context {
    pub console: Console,
    pub options: TargetOptions,
}

impl Context {
    /// For commands that need an immediate response.
    pub fn client(&self) -> Result<Client<'_>, CliError> {
        Ok(Client::new(Target::find(&self.options)?, RetryMode::Interactive, &self.console))
    }

    /// For commands that wait until an execution has ended.
    pub fn waiting_client(&self) -> Result<Client<'_>, CliError> {
        Ok(Client::new(Target::find(&self.options)?, RetryMode::Waiting, &self.console))
    }
}
