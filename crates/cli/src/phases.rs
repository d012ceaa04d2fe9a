//! Where an execution stands, told once each time it changes.

use rgrid_api::{Execution, Status};

use crate::console::Console;

pub struct Phases<'a> {
    /// None: nobody wants to know.
    console: Option<&'a Console>,
    last: Option<Status>,
}

impl<'a> Phases<'a> {
    pub fn told_on(console: &'a Console) -> Self {
        Self { console: Some(console), last: None }
    }

    pub fn untold() -> Self {
        Self { console: None, last: None }
    }

    /// An end is told by what comes of it.
    pub fn see(&mut self, execution: &Execution) {
        let before = self.last.replace(execution.status);
        if before == Some(execution.status) || execution.status.is_final() {
            return;
        }
        if let Some(console) = self.console {
            console.progress(&format!("Status: {}", execution.status));
        }
    }
}
