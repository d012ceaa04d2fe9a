//! What keeps sandboxes with a network from this host's own services and from addresses such as a cloud's
//! metadata service: rules of iptables on the Docker host, for everything that comes from their bridge.
//!
//! A container can't do that for itself without rights that it must not have. So the daemon does it when it is
//! root on the Docker host; otherwise it says what can't be ensured, and `rgridd firewall` is for root to run.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use bollard::query_parameters::InspectNetworkOptions;

use crate::sandbox::error::answered;
use crate::sandbox::{Docker, DockerError};
use crate::settings::Network;

/// What may go to the host itself, and what may be forwarded.
const TO_HOST: &str = "RGRID-HOST";
const FORWARDED: &str = "RGRID-FORWARD";
/// Where the chains are hung in; Docker keeps DOCKER-USER for others, and never touches INPUT.
const HOOKS: [(&str, &str); 2] = [("INPUT", TO_HOST), ("DOCKER-USER", FORWARDED)];
/// A name server may be the host, or (in some clouds) a link-local address.
const DNS: u16 = 53;
const PLACES: [&str; 4] = ["", "/usr/sbin/", "/sbin/", "/usr/local/sbin/"];

/// Where the sandboxes' network meets the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    bridge: String,
    /// Besides this host.
    blocked: Vec<Network>,
    /// TCP ports of this host that may be reached.
    host_ports: Vec<u16>,
}

/// Whether the fence stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirewallState {
    Active,
    /// It can't be told or made from here, and why.
    Unverified(String),
}

impl Docker {
    /// The fence around the network that sandboxes are in.
    pub async fn firewall(&self, blocked: &[Network], host_ports: &[u16]) -> Result<Firewall, DockerError> {
        let network = self.internet().await?;
        let inspected = answered(self.api.inspect_network(&network, None::<InspectNetworkOptions>)).await;
        let inspected = inspected.map_err(|error| self.failed("inspect a network", error))?;
        let named = inspected.options.unwrap_or_default().remove("com.docker.network.bridge.name");
        let usual = || format!("br-{}", network.get(..12).unwrap_or(&network));
        let (blocked, host_ports) = (blocked.to_vec(), host_ports.to_vec());
        Ok(Firewall { bridge: named.unwrap_or_else(usual), blocked, host_ports })
    }
}

impl Firewall {
    /// Blocking. Makes what is missing, changes nothing when it stands.
    pub fn apply(&self) -> FirewallState {
        self.attempt(|| {
            run_with_input("iptables-restore", &["--wait", "5", "--noflush"], &self.chains())?;
            for (hook, chain) in HOOKS {
                if !self.has_jump(hook, chain)? {
                    let jump = self.jump(hook, chain);
                    run("iptables", &[&["--wait", "5", "--insert"], jump.as_slice()].concat())?;
                }
            }
            Ok(())
        })
    }

    /// Blocking. Changes nothing.
    pub fn check(&self) -> FirewallState {
        self.attempt(|| {
            for (hook, chain) in HOOKS {
                if !self.has_jump(hook, chain)? {
                    return Err(format!("there is no rule for the bridge {} in {hook}", self.bridge));
                }
            }
            Ok(())
        })
    }

    /// Blocking.
    pub fn remove(&self) -> FirewallState {
        self.attempt(|| {
            for (hook, chain) in HOOKS {
                if self.has_jump(hook, chain)? {
                    let jump = self.jump(hook, chain);
                    run("iptables", &[&["--wait", "5", "--delete"], jump.as_slice()].concat())?;
                }
            }
            Ok(())
        })
    }

    /// The same for a shell on the Docker host.
    pub fn commands(&self) -> String {
        let mut lines = format!("iptables-restore --wait 5 --noflush <<'RULES'\n{}RULES\n", self.chains());
        for (hook, chain) in HOOKS {
            let jump = self.jump(hook, chain).join(" ");
            lines += &format!(
                "iptables --wait 5 --check {jump} 2>/dev/null || iptables --wait 5 --insert {jump}\n"
            );
        }
        lines
    }

    fn attempt(&self, work: impl FnOnce() -> Result<(), String>) -> FirewallState {
        if !self.is_here() {
            return FirewallState::Unverified(format!(
                "the bridge {} is not on this machine (a remote Docker, or the daemon is in a container)",
                self.bridge
            ));
        }
        work().map_or_else(FirewallState::Unverified, |()| FirewallState::Active)
    }

    /// `/proc/net` is of this process's own network namespace; `/sys` need not be.
    fn is_here(&self) -> bool {
        let devices = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
        devices.lines().any(|line| line.trim_start().split(':').next() == Some(&self.bridge))
    }

    /// Both chains, emptied and filled in one step.
    fn chains(&self) -> String {
        let mut rules = format!("*filter\n:{TO_HOST} - [0:0]\n:{FORWARDED} - [0:0]\n");
        rules += &format!("-A {TO_HOST} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN\n");
        for chain in [TO_HOST, FORWARDED] {
            for protocol in ["udp", "tcp"] {
                rules += &format!("-A {chain} -p {protocol} --dport {DNS} -j RETURN\n");
            }
        }
        for port in &self.host_ports {
            rules += &format!("-A {TO_HOST} -p tcp --dport {port} -j RETURN\n");
        }
        rules += &format!("-A {TO_HOST} -j REJECT\n");
        for network in &self.blocked {
            rules += &format!("-A {FORWARDED} -d {network} -j REJECT\n");
        }
        rules + "COMMIT\n"
    }

    fn jump<'a>(&'a self, hook: &'a str, chain: &'a str) -> Vec<&'a str> {
        vec![hook, "--in-interface", &self.bridge, "--jump", chain]
    }

    fn has_jump(&self, hook: &str, chain: &str) -> Result<bool, String> {
        let jump = self.jump(hook, chain);
        let output = output("iptables", &[&["--wait", "5", "--check"], jump.as_slice()].concat(), "")?;
        // 1: there is no such rule. Anything else is no answer.
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(said("iptables", &output)),
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    run_with_input(program, arguments, "")
}

fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let output = output(program, arguments, input)?;
    if output.status.success() { Ok(()) } else { Err(said(program, &output)) }
}

fn output(program: &str, arguments: &[&str], input: &str) -> Result<Output, String> {
    let failed = |error: std::io::Error| format!("{program} could not be run: {error}");
    let start = |place: &&str| {
        let mut command = Command::new(format!("{place}{program}"));
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()
    };
    let Some(mut child) = PLACES.iter().find_map(start) else {
        return Err(format!("there is no {program} on this machine"));
    };
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    child.wait_with_output().map_err(failed)
}

fn said(program: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().next().unwrap_or("it said nothing");
    format!("{program} failed ({}): {first}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_let_dns_through_and_nothing_else_to_the_host() {
        let blocked = vec!["169.254.0.0/16".parse().unwrap()];
        let fence = Firewall { bridge: "br-0".to_owned(), blocked, host_ports: vec![3141] };
        let expected = "\
*filter
:RGRID-HOST - [0:0]
:RGRID-FORWARD - [0:0]
-A RGRID-HOST -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A RGRID-HOST -p udp --dport 53 -j RETURN
-A RGRID-HOST -p tcp --dport 53 -j RETURN
-A RGRID-FORWARD -p udp --dport 53 -j RETURN
-A RGRID-FORWARD -p tcp --dport 53 -j RETURN
-A RGRID-HOST -p tcp --dport 3141 -j RETURN
-A RGRID-HOST -j REJECT
-A RGRID-FORWARD -d 169.254.0.0/16 -j REJECT
COMMIT
";
        assert_eq!(fence.chains(), expected);
        assert!(fence.commands().contains("--insert DOCKER-USER --in-interface br-0 --jump RGRID-FORWARD\n"));
    }

    #[test]
    fn a_bridge_that_is_elsewhere_is_told() {
        let fence = Firewall { bridge: "br-nowhere".to_owned(), blocked: Vec::new(), host_ports: Vec::new() };
        assert!(matches!(fence.apply(), FirewallState::Unverified(reason) if reason.contains("br-nowhere")));
    }
}
