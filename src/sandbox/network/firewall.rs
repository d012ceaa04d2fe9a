//! The firewall: iptables rules on the Docker host that keep sandboxes with a network away from the host's own services
//! and from addresses such as a cloud's metadata service. They apply to all traffic from the sandboxes' bridge.
//!
//! A container could install them only with privileges that it must not have. So the daemon installs them if it is root
//! on the Docker host. Otherwise it reports that it cannot, and root runs `rgridd firewall`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use bollard::query_parameters::InspectNetworkOptions;

use crate::sandbox::network::bridge::BRIDGE_NAME_OPTION;
use crate::sandbox::{Docker, DockerError};
use crate::settings::IpRange;

/// The chain for traffic to the host itself, and the one for forwarded traffic.
const HOST_CHAIN: &str = "RGRID-HOST";
const FORWARD_CHAIN: &str = "RGRID-FORWARD";
/// The chains that jump to them. Docker reserves DOCKER-USER for such rules and never changes INPUT.
const HOOKS: [(&str, &str); 2] = [("INPUT", HOST_CHAIN), ("DOCKER-USER", FORWARD_CHAIN)];
/// The name server may be the host or, in some clouds, a link-local address.
const DNS_PORT: u16 = 53;
const PROGRAM_FOLDERS: [&str; 4] = ["", "/usr/sbin/", "/sbin/", "/usr/local/sbin/"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    bridge: String,
    /// Networks that are blocked besides this host.
    blocked: Vec<IpRange>,
    /// TCP ports of this host that sandboxes may reach.
    host_ports: Vec<u16>,
}

impl Docker {
    /// The firewall around the sandboxes' bridge network.
    pub async fn firewall(&self, blocked: &[IpRange], host_ports: &[u16]) -> Result<Firewall, DockerError> {
        let network = self.bridge().await?;
        let inspect = self.api.inspect_network(&network, None::<InspectNetworkOptions>);
        let inspected = self.call("inspect a network", inspect).await?;
        let name = inspected.options.unwrap_or_default().remove(BRIDGE_NAME_OPTION);
        let default = || format!("br-{}", network.get(..12).unwrap_or(&network));
        Ok(Firewall {
            bridge: name.unwrap_or_else(default),
            blocked: blocked.to_vec(),
            host_ports: host_ports.to_vec(),
        })
    }
}

/// All methods except [`Firewall::commands`] run iptables and block. Their error is the reason why the rules are missing or
/// could not be verified or changed.
impl Firewall {
    /// Installs missing rules. Idempotent.
    pub fn apply(&self) -> Result<(), String> {
        self.require_host()?;
        iptables_program("iptables-restore", &["--wait", "5", "--noflush"], &self.chains())?;
        self.edit_jumps("--insert", false)
    }

    /// Checks the rules without changing them.
    pub fn check(&self) -> Result<(), String> {
        self.require_host()?;
        for (hook, chain) in HOOKS {
            if !self.has_jump(hook, chain)? {
                return Err(format!("{hook} has no rule for the bridge {}", self.bridge));
            }
        }
        Ok(())
    }

    /// Removes the rules. Idempotent.
    pub fn remove(&self) -> Result<(), String> {
        self.require_host()?;
        self.edit_jumps("--delete", true)
    }

    /// The shell commands that do the same as [`Firewall::apply`] on the Docker host.
    pub fn commands(&self) -> String {
        let mut commands = format!("iptables-restore --wait 5 --noflush <<'RULES'\n{}RULES\n", self.chains());
        for (hook, chain) in HOOKS {
            let jump = self.jump(hook, chain).join(" ");
            commands += &format!(
                "iptables --wait 5 --check {jump} 2>/dev/null || iptables --wait 5 --insert {jump}\n"
            );
        }
        commands
    }

    fn require_host(&self) -> Result<(), String> {
        // `/proc/net` shows the network namespace of this process; `/sys` may show another one.
        let devices = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
        if devices.lines().any(|line| line.trim_start().split(':').next() == Some(&self.bridge)) {
            return Ok(());
        }
        Err(format!(
            "the bridge {} is not on this machine (Docker is remote, or the daemon runs in a container)",
            self.bridge
        ))
    }

    /// Both chains in the format of iptables-restore, which replaces them atomically.
    fn chains(&self) -> String {
        let mut rules = format!("*filter\n:{HOST_CHAIN} - [0:0]\n:{FORWARD_CHAIN} - [0:0]\n");
        rules += &format!("-A {HOST_CHAIN} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN\n");
        for chain in [HOST_CHAIN, FORWARD_CHAIN] {
            for protocol in ["udp", "tcp"] {
                rules += &format!("-A {chain} -p {protocol} --dport {DNS_PORT} -j RETURN\n");
            }
        }
        for port in &self.host_ports {
            rules += &format!("-A {HOST_CHAIN} -p tcp --dport {port} -j RETURN\n");
        }
        rules += &format!("-A {HOST_CHAIN} -j REJECT\n");
        for network in &self.blocked {
            rules += &format!("-A {FORWARD_CHAIN} -d {network} -j REJECT\n");
        }
        rules + "COMMIT\n"
    }

    fn jump<'a>(&'a self, hook: &'a str, chain: &'a str) -> [&'a str; 5] {
        [hook, "--in-interface", &self.bridge, "--jump", chain]
    }

    /// Runs iptables with `action` for each jump that exists, or for each that does not.
    fn edit_jumps(&self, action: &str, existing: bool) -> Result<(), String> {
        for (hook, chain) in HOOKS {
            if self.has_jump(hook, chain)? == existing {
                let jump = self.jump(hook, chain);
                iptables_program("iptables", &[&["--wait", "5", action], jump.as_slice()].concat(), "")?;
            }
        }
        Ok(())
    }

    fn has_jump(&self, hook: &str, chain: &str) -> Result<bool, String> {
        let jump = self.jump(hook, chain);
        let arguments = [&["--wait", "5", "--check"], jump.as_slice()].concat();
        let output = output("iptables", &arguments, "")?;
        // Exit code 1 means that there is no such rule.
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failure("iptables", &output)),
        }
    }
}

fn iptables_program(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let output = output(program, arguments, input)?;
    if output.status.success() { Ok(()) } else { Err(failure(program, &output)) }
}

fn output(program: &str, arguments: &[&str], input: &str) -> Result<Output, String> {
    let failed = |error: std::io::Error| format!("{program} could not be run: {error}");
    let spawn = |folder: &&str| {
        let mut command = Command::new(format!("{folder}{program}"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().ok()
    };
    let Some(mut child) = PROGRAM_FOLDERS.iter().find_map(spawn) else {
        return Err(format!("{program} is not installed on this machine"));
    };
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    child.wait_with_output().map_err(failed)
}

fn failure(program: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().next().unwrap_or("no error message");
    format!("{program} failed ({}): {first}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firewall(bridge: &str, blocked: &[&str], host_ports: &[u16]) -> Firewall {
        let blocked = blocked.iter().map(|network| network.parse().unwrap()).collect();
        Firewall { bridge: bridge.to_owned(), blocked, host_ports: host_ports.to_vec() }
    }

    #[test]
    fn the_rules_allow_dns_and_the_configured_ports_and_reject_the_rest() {
        let metadata = "-A RGRID-FORWARD -d 169.254.0.0/16 -j REJECT\n";
        let private = "-A RGRID-FORWARD -d 10.0.0.0/8 -j REJECT\n";
        let port = "-A RGRID-HOST -p tcp --dport 3141 -j RETURN\n";
        let cases: [(&[&str], &[u16], &str, String); 4] = [
            (&[], &[], "", String::new()),
            (&["169.254.0.0/16"], &[], "", metadata.to_owned()),
            (&[], &[3141], port, String::new()),
            (&["169.254.0.0/16", "10.0.0.0/8"], &[3141], port, format!("{metadata}{private}")),
        ];
        for (blocked, host_ports, allowed, rejected) in cases {
            let expected = format!(
                "\
*filter
:RGRID-HOST - [0:0]
:RGRID-FORWARD - [0:0]
-A RGRID-HOST -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A RGRID-HOST -p udp --dport 53 -j RETURN
-A RGRID-HOST -p tcp --dport 53 -j RETURN
-A RGRID-FORWARD -p udp --dport 53 -j RETURN
-A RGRID-FORWARD -p tcp --dport 53 -j RETURN
{allowed}-A RGRID-HOST -j REJECT
{rejected}COMMIT
"
            );
            assert_eq!(firewall("br-0", blocked, host_ports).chains(), expected);
        }
    }

    #[test]
    fn the_printed_commands_install_both_chains_and_each_jump_once() {
        let commands = firewall("br-0", &["169.254.0.0/16"], &[]).commands();
        assert!(commands.contains(":RGRID-HOST - [0:0]\n:RGRID-FORWARD - [0:0]\n"), "{commands}");
        for (hook, chain) in HOOKS {
            let jump = format!("{hook} --in-interface br-0 --jump {chain}");
            let line = format!(
                "iptables --wait 5 --check {jump} 2>/dev/null || iptables --wait 5 --insert {jump}\n"
            );
            assert!(commands.contains(&line), "{commands}");
        }
    }

    #[test]
    fn a_bridge_on_another_machine_is_reported() {
        let firewall = firewall("br-nowhere", &[], &[]);
        for state in [firewall.apply(), firewall.check(), firewall.remove()] {
            assert!(state.is_err_and(|reason| reason.contains("br-nowhere")));
        }
    }
}
