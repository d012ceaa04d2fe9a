//! The firewall: iptables rules on the Docker host that keep sandboxes with a network away from the host's own services
//! and from addresses such as a cloud's metadata service. They apply to all traffic from the sandboxes' bridge.
//!
//! There are two layers. The table `filter` rejects, so that scripts get an error at once. The table `security`, which
//! packets pass after it, drops the same packets, so that nothing passes before a change of `filter` is noticed.
//!
//! A container could install them only with privileges that it must not have. So the daemon installs them if it is root
//! on the Docker host. Otherwise it reports that it cannot, and root runs `rgridd firewall up` or `keep`.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

use bollard::query_parameters::InspectNetworkOptions;

use crate::sandbox::network::bridge::{BRIDGE_NAME_OPTION, bridge_name};
use crate::sandbox::network::name_servers::name_servers;
use crate::sandbox::{Docker, DockerError};
use crate::settings::{self, IpRange};

/// The chain for traffic to the host itself, and the one for forwarded traffic.
const HOST_CHAIN: &str = "RGRID-HOST";
const FORWARD_CHAIN: &str = "RGRID-FORWARD";
const CHAINS: [&str; 2] = [HOST_CHAIN, FORWARD_CHAIN];
/// Docker reserves it for such rules, and passes all forwarded traffic through it before its own rules.
const DOCKER_CHAIN: &str = "DOCKER-USER";
/// The name server may be the host or, in some clouds, the address of the metadata service.
const DNS_PORT: u16 = 53;
const PROGRAM_FOLDERS: [&str; 4] = ["", "/usr/sbin/", "/sbin/", "/usr/local/sbin/"];

/// A table with the rules.
struct Layer {
    table: &'static str,
    verdict: &'static str,
    /// The chain for forwarded traffic that jumps to ours.
    forward_hook: &'static str,
}

const FILTER: Layer = Layer {
    table: "filter",
    verdict: "REJECT --reject-with icmp-port-unreachable",
    forward_hook: DOCKER_CHAIN,
};
/// Best effort: not every kernel has this table.
const SECURITY: Layer = Layer { table: "security", verdict: "DROP", forward_hook: "FORWARD" };

/// Needs no engine to check and restore the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// The bridge of the network, and the one that it gets if it is created again, which may happen at any time.
    bridges: Vec<String>,
    /// Networks that are blocked besides this host.
    blocked: Vec<IpRange>,
    /// TCP ports of this host that sandboxes may reach.
    host_ports: Vec<u16>,
    /// The configured name servers, and those of sandboxes. They may be blocked otherwise, or belong to this host.
    dns: Vec<Ipv4Addr>,
    name_servers: BTreeSet<Ipv4Addr>,
}

/// The rules are in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallReport {
    /// The first rule that was missing before, as a description.
    pub restored: Option<String>,
    /// Why only the table `filter` protects this host.
    pub second_layer_problem: Option<String>,
}

impl Docker {
    /// The firewall around the sandboxes' bridge network.
    pub async fn firewall(&self, settings: &settings::Sandbox) -> Result<Firewall, DockerError> {
        let network = self.bridge().await?;
        let inspect = self.api.inspect_network(&network, None::<InspectNetworkOptions>);
        let inspected = self.call("inspect a network", inspect).await?;
        let name = inspected.options.unwrap_or_default().remove(BRIDGE_NAME_OPTION);
        let default = || format!("br-{}", network.get(..12).unwrap_or(&network));
        let mut bridges = vec![name.unwrap_or_else(default), bridge_name(&self.settings.network)];
        bridges.dedup();
        Ok(Firewall::new(bridges, settings))
    }
}

/// The methods that return a result run iptables and block. Their error is the reason why the rules are missing or could
/// not be verified or changed.
impl Firewall {
    /// The firewall around a network that RGrid created on this host, for when the engine does not answer.
    pub fn around_network(settings: &settings::Sandbox) -> Option<Self> {
        let firewall = Self::new(vec![bridge_name(&settings.network_name)], settings);
        firewall.is_on_this_host().then_some(firewall)
    }

    fn new(bridges: Vec<String>, settings: &settings::Sandbox) -> Self {
        let settings::Sandbox { blocked, host_ports, dns, .. } = settings.clone();
        let name_servers = name_servers(&dns);
        Self { bridges, blocked, host_ports, dns, name_servers }
    }

    /// Installs missing rules, and allows the name servers that sandboxes have now. Idempotent.
    pub fn apply(&mut self) -> Result<FirewallReport, String> {
        self.require_host()?;
        self.name_servers = name_servers(&self.dns);
        let restored = self.restore(&FILTER)?;
        let second = self.restore(&SECURITY);
        let second_layer_problem = second.as_ref().err().cloned();
        Ok(FirewallReport { restored: restored.or(second.unwrap_or_default()), second_layer_problem })
    }

    /// Checks the rules without changing them.
    pub fn check(&self) -> Result<FirewallReport, String> {
        self.require_host()?;
        let verify = |layer: &Layer| self.missing(layer, &save(layer)?).map_or(Ok(()), Err);
        verify(&FILTER)?;
        Ok(FirewallReport { restored: None, second_layer_problem: verify(&SECURITY).err() })
    }

    /// Removes the rules. Idempotent.
    pub fn remove(&self) -> Result<(), String> {
        self.require_host()?;
        self.remove_jumps(&FILTER)?;
        self.remove_jumps(&SECURITY)
    }

    /// The shell commands that do the same as [`Firewall::apply`] on the Docker host.
    pub fn commands(&self) -> String {
        let mut commands = String::new();
        for (layer, otherwise) in [(&FILTER, ""), (&SECURITY, " || true")] {
            let chains = format!("*{}\n{}COMMIT\n", layer.table, self.chains(layer));
            commands += &format!("iptables-restore --wait 5 --noflush <<'RULES'{otherwise}\n{chains}RULES\n");
            let iptables = format!("iptables --wait 5 --table {}", layer.table);
            for jump in self.jumps(layer) {
                commands += &format!(
                    "{iptables} --check {jump} 2>/dev/null || {iptables} --insert {jump}{otherwise}\n"
                );
            }
        }
        commands
    }

    /// Whether the bridge of the network exists on this machine. If not, the network may have been created again.
    pub fn is_on_this_host(&self) -> bool {
        self.require_host().is_ok()
    }

    fn require_host(&self) -> Result<(), String> {
        // `/proc/net` shows the network namespace of this process; `/sys` may show another one.
        let devices = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let bridge = self.bridges.first().map_or("", String::as_str);
        if devices.lines().any(|line| line.trim_start().split(':').next() == Some(bridge)) {
            return Ok(());
        }
        Err(format!(
            "the bridge {bridge} is not on this machine (Docker is remote, or the daemon runs in a container)"
        ))
    }

    /// The rules of a chain, as iptables-save prints them.
    fn rules(&self, layer: &Layer, chain: &str) -> Vec<String> {
        let mut rules = Vec::new();
        if chain == HOST_CHAIN {
            // Only replies: a connection that a sandbox opened while the rules were missing must not go on.
            rules.push("-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j RETURN".to_owned());
        }
        for server in &self.name_servers {
            let dns = ["udp", "tcp"].map(|protocol| {
                format!("-d {server}/32 -p {protocol} -m {protocol} --dport {DNS_PORT} -j RETURN")
            });
            rules.extend(dns);
        }
        if chain == HOST_CHAIN {
            rules
                .extend(self.host_ports.iter().map(|port| format!("-p tcp -m tcp --dport {port} -j RETURN")));
            rules.push(format!("-j {}", layer.verdict));
        } else {
            rules.extend(self.blocked.iter().map(|network| format!("-d {network} -j {}", layer.verdict)));
        }
        rules.into_iter().map(|rule| format!("-A {chain} {rule}")).collect()
    }

    /// Both chains in the format of iptables-restore, which replaces them atomically.
    fn chains(&self, layer: &Layer) -> String {
        let declared = CHAINS.iter().map(|chain| format!(":{chain} - [0:0]\n"));
        let rules = CHAINS.iter().flat_map(|chain| self.rules(layer, chain)).map(|rule| rule + "\n");
        declared.chain(rules).collect()
    }

    /// The rules that lead to both chains, and in the table `filter` also to Docker's chain, as iptables-save prints
    /// them, without the action.
    fn jumps(&self, layer: &Layer) -> Vec<String> {
        let hooks = [("INPUT", HOST_CHAIN), (layer.forward_hook, FORWARD_CHAIN)];
        let jump = |bridge: &String| hooks.map(|(hook, chain)| format!("{hook} -i {bridge} -j {chain}"));
        let mut jumps: Vec<String> = self.bridges.iter().flat_map(jump).collect();
        if layer.forward_hook == DOCKER_CHAIN {
            jumps.push(format!("FORWARD -j {DOCKER_CHAIN}"));
        }
        jumps
    }

    /// Returns the first rule that was missing, if there was one.
    fn restore(&self, layer: &Layer) -> Result<Option<String>, String> {
        let saved = save(layer)?;
        let Some(missing) = self.missing(layer, &saved) else { return Ok(None) };
        iptables("iptables-restore", &["--wait", "5", "--noflush"], &self.restoration(layer, &saved))?;
        match self.missing(layer, &save(layer)?) {
            None => Ok(Some(missing)),
            Some(missing) => Err(format!("{missing}, although it was just restored")),
        }
    }

    /// What iptables-restore needs to install the missing rules. Each table changes atomically.
    fn restoration(&self, layer: &Layer, saved: &str) -> String {
        let mut input = format!("*{}\n", layer.table);
        if layer.forward_hook == DOCKER_CHAIN && !saved.lines().any(|line| line.starts_with(":DOCKER-USER "))
        {
            input += &format!(":{DOCKER_CHAIN} - [0:0]\n");
        }
        input += &self.chains(layer);
        let missing = self.jumps(layer).into_iter().filter(|jump| !has_jump(saved, jump));
        input.extend(missing.map(|jump| format!("-I {jump}\n")));
        input + "COMMIT\n"
    }

    /// A description of the first rule that is missing in the output of iptables-save.
    fn missing(&self, layer: &Layer, saved: &str) -> Option<String> {
        if let Some(jump) = self.jumps(layer).iter().find(|jump| !has_jump(saved, jump)) {
            return Some(format!("the table {} has no rule `{jump}`", layer.table));
        }
        let changed = CHAINS.into_iter().find(|chain| {
            let prefix = format!("-A {chain} ");
            let found: Vec<&str> = saved.lines().filter(|line| line.starts_with(&prefix)).collect();
            let expected = self.rules(layer, chain);
            // Another version of iptables may print the same rules differently. If all are there and there is no other
            // one, nothing more is allowed, whatever their order.
            found != expected
                && (found.len() != expected.len() || !expected.iter().all(|rule| is_installed(layer, rule)))
        });
        changed
            .map(|chain| format!("the rules of the chain {chain} in the table {} were changed", layer.table))
    }

    fn remove_jumps(&self, layer: &Layer) -> Result<(), String> {
        let saved = save(layer)?;
        let own: Vec<String> = self.jumps(layer).into_iter().filter(|jump| jump.contains(" -i ")).collect();
        let installed = saved.lines().filter_map(|line| line.strip_prefix("-A "));
        let delete = installed.filter(|jump| own.iter().any(|own| own == jump));
        let delete: String = delete.map(|jump| format!("-D {jump}\n")).collect();
        if delete.is_empty() {
            return Ok(());
        }
        let input = format!("*{}\n{delete}COMMIT\n", layer.table);
        iptables("iptables-restore", &["--wait", "5", "--noflush"], &input).map(drop)
    }
}

fn has_jump(saved: &str, jump: &str) -> bool {
    saved.lines().any(|line| line.strip_prefix("-A ") == Some(jump))
}

/// Whether iptables finds such a rule.
fn is_installed(layer: &Layer, rule: &str) -> bool {
    let rule = rule.split(' ').skip(1);
    let arguments: Vec<&str> =
        ["--wait", "5", "--table", layer.table, "--check"].into_iter().chain(rule).collect();
    iptables("iptables", &arguments, "").is_ok()
}

fn save(layer: &Layer) -> Result<String, String> {
    iptables("iptables-save", &["--table", layer.table], "")
}

/// Returns what the program printed.
fn iptables(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let output = output(program, arguments, input)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failure(program, &output)),
    }
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
        let mut settings = crate::settings::load(None, []).unwrap().sandbox;
        settings.blocked = blocked.iter().map(|network| network.parse().unwrap()).collect();
        settings.host_ports = host_ports.to_vec();
        settings.dns = vec![Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(10, 0, 0, 2)];
        Firewall::new(vec![bridge.to_owned()], &settings)
    }

    #[test]
    fn the_rules_allow_name_servers_and_the_configured_ports_and_reject_the_rest() {
        for layer in [FILTER, SECURITY] {
            let verdict = layer.verdict;
            let metadata = format!("-A RGRID-FORWARD -d 169.254.0.0/16 -j {verdict}\n");
            let private = format!("-A RGRID-FORWARD -d 10.0.0.0/8 -j {verdict}\n");
            let port = "-A RGRID-HOST -p tcp -m tcp --dport 3141 -j RETURN\n";
            let cases: [(&[&str], &[u16], &str, String); 4] = [
                (&[], &[], "", String::new()),
                (&["169.254.0.0/16"], &[], "", metadata.clone()),
                (&[], &[3141], port, String::new()),
                (&["169.254.0.0/16", "10.9.8.7/8"], &[3141], port, format!("{metadata}{private}")),
            ];
            let dns = |chain: &str| -> String {
                let rule = |server: &str, protocol: &str| {
                    format!("-A {chain} -d {server}/32 -p {protocol} -m {protocol} --dport 53 -j RETURN\n")
                };
                ["10.0.0.2", "169.254.169.254"]
                    .map(|server| rule(server, "udp") + &rule(server, "tcp"))
                    .concat()
            };
            let (host_dns, forward_dns) = (dns(HOST_CHAIN), dns(FORWARD_CHAIN));
            for (blocked, host_ports, allowed, rejected) in cases {
                let expected = format!(
                    "\
:RGRID-HOST - [0:0]
:RGRID-FORWARD - [0:0]
-A RGRID-HOST -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j RETURN
{host_dns}{allowed}-A RGRID-HOST -j {verdict}
{forward_dns}{rejected}"
                );
                assert_eq!(firewall("br-0", blocked, host_ports).chains(&layer), expected);
            }
        }
    }

    /// What iptables-save prints after the restoration, if Docker's chain has a rule of its own.
    fn saved(firewall: &Firewall, layer: &Layer) -> String {
        let jumps = firewall.jumps(layer).into_iter().map(|jump| format!("-A {jump}\n"));
        format!(":DOCKER-USER - [0:0]\n{}{}", firewall.chains(layer), jumps.collect::<String>())
    }

    #[test]
    fn each_missing_rule_is_noticed_and_restored() {
        let firewall = firewall("br-0", &["169.254.0.0/16"], &[3141]);
        for layer in [FILTER, SECURITY] {
            let complete = saved(&firewall, &layer);
            assert_eq!(firewall.missing(&layer, &complete), None);
            for line in complete.lines().filter(|line| line.starts_with("-A ")) {
                let torn: String =
                    complete.lines().filter(|other| *other != line).map(|l| format!("{l}\n")).collect();
                assert!(firewall.missing(&layer, &torn).is_some(), "{line}");
                let restoration = firewall.restoration(&layer, &torn);
                assert!(
                    restoration.contains(&line.replacen("-A", "-I", 1)) || restoration.contains(line),
                    "{line}"
                );
                assert!(!restoration.contains(":DOCKER-USER"), "its other rules must stay");
            }
            let more = complete.clone() + "-A RGRID-FORWARD -d 169.254.1.1/32 -j ACCEPT\n";
            assert!(firewall.missing(&layer, &more).is_some());
            assert!(!firewall.restoration(&layer, &complete).contains("-I "));
        }
        let flushed = firewall.restoration(&FILTER, "");
        assert!(
            flushed.contains(":DOCKER-USER - [0:0]\n") && flushed.contains("-I FORWARD -j DOCKER-USER\n")
        );
    }

    #[test]
    fn the_printed_commands_install_both_chains_and_each_jump_once() {
        let firewall = firewall("br-0", &["169.254.0.0/16"], &[]);
        let commands = firewall.commands();
        for layer in [FILTER, SECURITY] {
            assert!(commands.contains(&firewall.chains(&layer)), "{commands}");
            for jump in firewall.jumps(&layer) {
                let iptables = format!("iptables --wait 5 --table {}", layer.table);
                let line = format!("{iptables} --check {jump} 2>/dev/null || {iptables} --insert {jump}");
                assert!(commands.contains(&line), "{commands}");
            }
        }
    }

    #[test]
    fn a_bridge_on_another_machine_is_reported() {
        let mut firewall = firewall("br-nowhere", &[], &[]);
        for state in [firewall.apply().map(drop), firewall.check().map(drop), firewall.remove()] {
            assert!(state.is_err_and(|reason| reason.contains("br-nowhere")));
        }
    }
}
