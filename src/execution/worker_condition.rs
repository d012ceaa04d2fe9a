//! Whether a worker's engine and firewall work.

use rgrid_api::FirewallState;

/// A problem is a reason in a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCondition {
    pub engine_problem: Option<String>,
    pub firewall: FirewallState,
    /// Only if the firewall is `Unverified` or `Failed`.
    pub firewall_problem: Option<String>,
}

impl WorkerCondition {
    pub fn firewall_off() -> Self {
        Self { engine_problem: None, firewall: FirewallState::Off, firewall_problem: None }
    }

    /// `reason`: why the firewall could not be verified. `fails_closed`: it must be, or it was verified before.
    pub fn set_firewall(&mut self, reason: Option<String>, fails_closed: bool) {
        self.firewall = match (&reason, fails_closed) {
            (None, _) => FirewallState::Verified,
            (Some(_), true) => FirewallState::Failed,
            (Some(_), false) => FirewallState::Unverified,
        };
        self.firewall_problem = reason;
    }

    /// Why no script may start with a network.
    pub fn blocks_network(&self) -> Option<&str> {
        let reason = self.firewall_problem.as_deref().unwrap_or_default();
        (self.firewall == FirewallState::Failed).then_some(reason)
    }

    /// Whether the worker claims nothing, or nothing that needs the network.
    pub fn limits_claims(&self) -> bool {
        self.engine_problem.is_some() || self.blocks_network().is_some()
    }

    /// Whether the firewall was verified in this process.
    pub fn was_verified(&self) -> bool {
        matches!(self.firewall, FirewallState::Verified | FirewallState::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_that_was_verified_or_is_required_fails_closed() {
        let reason = || Some("flushed".to_owned());
        for (required, reasons, blocks) in [
            (false, vec![reason()], false),
            (false, vec![reason(), reason()], false),
            (true, vec![reason()], true),
            (false, vec![None], false),
            (false, vec![None, reason()], true),
            (false, vec![None, reason(), reason()], true),
            (false, vec![None, reason(), None], false),
        ] {
            let mut condition = WorkerCondition::firewall_off();
            for reason in &reasons {
                condition.set_firewall(reason.clone(), required || condition.was_verified());
            }
            assert_eq!(condition.blocks_network().is_some(), blocks, "{required} {reasons:?}");
        }
    }
}
