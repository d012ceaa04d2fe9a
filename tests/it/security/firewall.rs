//! Sandboxes with a network reach the internet, but neither the host's services nor metadata services. Uses a private
//! engine and network, with the daemon in the same network namespace as on a Docker host.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::{Background, DaemonBuilder, Database, PrivateEngine, fixture, wait_until};

/// Answers `hello` at several addresses.
const GREETER: &str = "
import socket, sys, threading
def tcp(address, port):
    server = socket.create_server((address, port))
    print('listening', flush=True)
    while True:
        connection = server.accept()[0]
        connection.sendall(b'hello'); connection.close()
def udp(address, port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))
    print('listening', flush=True)
    while True:
        server.sendto(b'hello', server.recvfrom(100)[1])
for target in sys.argv[1:]:
    kind, address, port = target.split(',')
    threading.Thread(target={'tcp': tcp, 'udp': udp}[kind], args=(address, int(port))).start()
";

/// A namespace that the engine's routes to: the internet at 198.51.100.7, a cloud's metadata service at
/// 169.254.169.254, and an internal network at 10.9.8.7.
const BEYOND: &str = "
ip link add beyond type veth peer name home
unshare --net=$BEYOND true
ip link set home netns $BEYOND
ip address add 192.0.2.1/24 dev beyond; ip link set beyond up
for address in 198.51.100.7 169.254.169.254 10.9.8.7; do ip route add $address/32 via 192.0.2.2; done
nsenter --net=$BEYOND sh -ec '
  ip link set lo up; ip address add 192.0.2.2/24 dev home; ip link set home up; ip route add default via 192.0.2.1
  for address in 198.51.100.7 169.254.169.254 10.9.8.7; do ip address add $address/32 dev lo; done'
";

struct World {
    engine: PrivateEngine,
    beyond: tempfile::TempDir,
    _greeters: Vec<Background>,
}

impl World {
    fn new() -> Self {
        let engine = PrivateEngine::with_images(&["python:3.11-slim"]);
        let beyond = tempfile::Builder::new().prefix("rgb").tempdir_in("/tmp").unwrap();
        let file = beyond.path().join("netns");
        std::fs::write(&file, "").unwrap();
        engine.shell(&BEYOND.replace("$BEYOND", file.to_str().unwrap()));
        let mut world = Self { engine, beyond, _greeters: Vec::new() };
        // Some clouds give the host a link-local address.
        world.engine.shell("ip address add 169.254.1.1/32 dev lo");
        world.greet(&["tcp,0.0.0.0,5432", "tcp,0.0.0.0,3141", "udp,0.0.0.0,53", "udp,0.0.0.0,123"], false);
        let beyond =
            ["tcp,198.51.100.7,80", "tcp,169.254.169.254,80", "udp,169.254.169.254,53", "tcp,10.9.8.7,80"];
        world.greet(&beyond, true);
        world
    }

    fn greet(&mut self, targets: &[&str], beyond: bool) {
        let mut command = match beyond {
            true => {
                let mut command = self.engine.beside("nsenter");
                command.arg(format!("--net={}/netns", self.beyond.path().display())).arg("python3");
                command
            }
            false => self.engine.beside("python3"),
        };
        let child = command.args(["-c", GREETER]).args(targets).stdin(Stdio::null());
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let listen = BufReader::new(child.stdout.take().unwrap()).lines().take(targets.len());
        assert_eq!(listen.map_while(Result::ok).count(), targets.len(), "a greeter is not listening");
        self._greeters.push(Background(child));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let file = self.beyond.path().join("netns");
        let _ = std::process::Command::new("umount").arg(file).status();
    }
}

/// Runs the attack in a sandbox and returns its output lines.
fn attack(world: &World, settings: &[(&str, &str)], targets: &[&str]) -> Vec<String> {
    let database = Database::new();
    let with = |builder: DaemonBuilder| {
        let builder = builder.with("RGRID_DOCKER__HOST", world.engine.host()).slots(1);
        settings.iter().fold(builder, |builder, (name, value)| builder.with(name, value))
    };
    // The worker runs on the private Docker host; the API shares its database.
    let worker = with(DaemonBuilder::plain(&database)).inside(&world.engine.namespace()).start();
    let mut api = DaemonBuilder::plain(&database);
    api.argument("--role=api");
    let api = api.start();
    let script = std::fs::read_to_string(fixture("attacks/network.py")).unwrap();
    let helper = std::fs::read(fixture("attacks/attack.py")).unwrap();
    let helper = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, helper);
    let more = json!({ "args": targets, "files": [{ "name": "attack.py", "content_base64": helper }] });
    let end = api.http().wait(&api.http().submit_with(&script, more));
    assert_eq!(worker.stop(), 0);
    end["stdout"].as_str().unwrap_or_else(|| panic!("{end}")).lines().map(str::to_owned).collect()
}

#[test]
fn sandboxes_reach_the_internet_but_neither_the_host_nor_metadata_services() {
    let world = World::new();
    let gateway = "172.18.0.1";
    let daemon = format!("tcp,{gateway},8080");
    let targets = [
        "tcp,198.51.100.7,80",
        "tcp,10.9.8.7,80",
        "tcp,169.254.169.254,80",
        "tcp,169.254.1.1,5432",
        "tcp,172.18.0.1,5432",
        "tcp,192.0.2.1,5432",
        "tcp,172.18.0.1,3141",
        "udp,172.18.0.1,123",
        "udp,172.18.0.1,53",
        "udp,169.254.169.254,53",
        &daemon,
    ];
    let auto = ("RGRID_SANDBOX__FIREWALL", "auto");
    let listen = ("RGRID_HTTP__LISTEN", "0.0.0.0:8080");
    let open = ("RGRID_AUTH__I_KNOW_THIS_IS_OPEN", "true");

    // Without the firewall all of them answer, which proves that the firewall blocks them below.
    let open_world = attack(&world, &[("RGRID_SANDBOX__FIREWALL", "off")], &targets[..10]);
    assert!(open_world[..10].iter().all(|line| line.contains("ALLOWED: b'hello'")), "{open_world:#?}");
    assert_eq!(open_world[10..], ["routes 2", "ipv6 0"]);

    let said = attack(&world, &[auto, listen, open], &targets);
    let expected = [true, true, false, false, false, false, false, false, true, true, false];
    for ((line, target), allowed) in said.iter().zip(targets).zip(expected) {
        let result = if allowed { "ALLOWED: b'hello'" } else { "refused: ECONNREFUSED" };
        assert_eq!(*line, format!("{target} - {result}"), "{said:#?}");
    }

    // The settings block an internal network and open a port of the host. The next start restores flushed rules.
    world.engine.shell("iptables -F INPUT; iptables -F DOCKER-USER");
    let blocked = ("RGRID_SANDBOX__BLOCKED", "[\"10.0.0.0/8\"]");
    let ports = ("RGRID_SANDBOX__HOST_PORTS", "[3141]");
    let said = attack(&world, &[("RGRID_SANDBOX__FIREWALL", "require"), blocked, ports], &targets[..7]);
    let allowed: Vec<bool> = said[..7].iter().map(|line| line.contains("ALLOWED")).collect();
    assert_eq!(allowed, [true, false, true, false, false, false, true], "{said:#?}");
}

#[test]
fn a_daemon_that_cannot_apply_the_firewall_warns_or_refuses_to_start() {
    // From here the engine's bridge can't be seen, as from a container.
    let engine = PrivateEngine::with_images(&["python:3.11-slim"]);
    let database = Database::new();
    let builder = |mode: &str| {
        DaemonBuilder::plain(&database)
            .with("RGRID_DOCKER__HOST", engine.host())
            .with("RGRID_SANDBOX__FIREWALL", mode)
    };
    let daemon = builder("auto").start();
    let warned = wait_until("it warns", std::time::Duration::from_secs(10), || {
        daemon.log().into_iter().find(|line| line.contains("cannot verify that the firewall"))
    });
    assert!(warned.contains("is not on this machine") && warned.contains("rgridd firewall"), "{warned}");
    drop(daemon);

    let doctor = builder("auto").command(&["doctor"]).output().unwrap();
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(said.contains("ok      firewall: cannot verify the firewall: the bridge br-"), "{said}");
    let refused = builder("require").command(&["serve"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("sandbox.firewall is `require`, but"), "{said}");

    // Root may run the printed commands on the Docker host instead.
    let printed = builder("auto").command(&["firewall", "print"]).output().unwrap();
    let commands = String::from_utf8(printed.stdout).unwrap();
    engine.shell(&commands);
    engine.shell(&commands);
    engine.shell("test $(iptables -S INPUT | grep -c RGRID-HOST) = 1");
    engine.shell("iptables -S DOCKER-USER | head -n 2 | grep -q RGRID-FORWARD");
}

#[test]
fn root_on_the_docker_host_applies_maintains_and_removes_the_firewall() {
    let engine = PrivateEngine::with_images(&["debian:bookworm-slim"]);
    let firewall = |what: &str| {
        let mut command = engine.beside(env!("CARGO_BIN_EXE_rgridd"));
        command.args(["firewall", what]).env("RGRID_DOCKER__HOST", engine.host()).stdin(Stdio::null());
        command
    };
    let does = |what: &str| firewall(what).output().unwrap().status.success();
    assert!(!does("check"));
    let mut keeper = Background(firewall("keep").spawn().unwrap());
    wait_until("the rules are up", Duration::from_secs(30), || does("check").then_some(()));
    // The rules stay when it stops, because workers may still run.
    assert!(Command::new("kill").arg(keeper.0.id().to_string()).status().unwrap().success());
    assert!(keeper.0.wait().unwrap().success());
    assert!(does("check"));
    assert!(does("down") && !does("check"));
}
