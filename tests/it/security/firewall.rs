//! Sandboxes with a network reach the internet, but neither the host's services nor metadata services. Uses a private
//! engine and network, with the daemon in the same network namespace as on a Docker host.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Background, Daemon, DaemonBuilder, Database, PrivateEngine, fixture, wait_until};

/// Answers `hello` at several addresses, and DNS queries with an address.
const GREETER: &str = r"
import socket, sys, threading
def tcp(address, port):
    server = socket.create_server((address, port))
    print('listening', flush=True)
    while True:
        connection = server.accept()[0]
        connection.sendall(b'hello'); connection.close()
def answer(query):
    if query == b'hello':
        return query
    end = query.index(b'\0', 12) + 5
    count, address = b'\0\0', b''
    if query[end - 4:end - 2] == b'\0\1':
        count, address = b'\0\1', b'\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4' + socket.inet_aton('203.0.113.7')
    return query[:2] + b'\x81\x80\0\1' + count + b'\0\0\0\0' + query[12:end] + address
def udp(address, port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # IP_FREEBIND: the sandboxes' network does not exist yet.
    server.setsockopt(socket.IPPROTO_IP, 15, 1)
    server.bind((address, port))
    print('listening', flush=True)
    while True:
        query, client = server.recvfrom(600)
        server.sendto(answer(query), client)
for target in sys.argv[1:]:
    kind, address, port = target.split(',')
    threading.Thread(target={'tcp': tcp, 'udp': udp}[kind], args=(address, int(port))).start()
";

/// A namespace that the engine's routes to: the internet at 198.51.100.7, an internal network at 10.9.8.7, and the
/// metadata services of clouds, of which those at the first two addresses are also name servers there.
const BEYOND: &str = "
ip link add beyond type veth peer name home
unshare --net=$BEYOND true
ip link set home netns $BEYOND
ip address add 192.0.2.1/24 dev beyond; ip link set beyond up
for address in $ADDRESSES; do ip route add $address/32 via 192.0.2.2; done
nsenter --net=$BEYOND sh -ec '
  ip link set lo up; ip address add 192.0.2.2/24 dev home; ip link set home up; ip route add default via 192.0.2.1
  for address in $ADDRESSES; do ip address add $address/32 dev lo; done'
";
const METADATA: [&str; 6] =
    ["169.254.169.254", "168.63.129.16", "100.100.100.200", "100.96.0.96", "100.80.80.80", "192.0.0.192"];

/// Appends the address to a file for each packet that arrives there.
const COUNTER: &str = "
import socket, sys, threading
def count(address, file):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 9))
    print('listening', flush=True)
    while True:
        server.recvfrom(100)
        file.write(address + '\\n')
file = open(sys.argv[1], 'a', buffering=1)
for address in sys.argv[2:]:
    threading.Thread(target=count, args=(address, file)).start()
";

/// Sends a packet to each address a hundred times a second.
const SENDER: &str = "
import socket, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print('sending', flush=True)
while True:
    for address in ['198.51.100.7', '169.254.169.254', '172.18.0.1']:
        try: sender.sendto(b'x', (address, 9))
        except OSError: pass
    time.sleep(0.01)
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
        let addresses = format!("198.51.100.7 10.9.8.7 {}", METADATA.join(" "));
        engine.shell(&BEYOND.replace("$BEYOND", file.to_str().unwrap()).replace("$ADDRESSES", &addresses));
        let mut world = Self { engine, beyond, _greeters: Vec::new() };
        // Some clouds give the host a link-local address.
        world.engine.shell("ip address add 169.254.1.1/32 dev lo");
        world.greet(&["tcp,0.0.0.0,5432", "tcp,0.0.0.0,3141", "udp,0.0.0.0,123"], false);
        world.greet(&["udp,172.18.0.1,53", "udp,192.0.2.1,53"], false);
        let mut beyond = vec!["tcp,198.51.100.7,80".to_owned(), "tcp,10.9.8.7,80".to_owned()];
        beyond.extend(METADATA.map(|address| format!("tcp,{address},80")));
        beyond.extend(["169.254.169.254", "168.63.129.16"].map(|address| format!("udp,{address},53")));
        world.greet(&beyond.iter().map(String::as_str).collect::<Vec<_>>(), true);
        world
    }

    fn greet(&mut self, targets: &[&str], beyond: bool) {
        self.listen(GREETER, None, targets, beyond);
    }

    /// Counts the packets to port 9 of these addresses of the engine's host, and of others beyond it.
    fn count(&mut self, host: &[&str], beyond: &[&str]) -> Counter {
        let file = self.beyond.path().join("packets");
        self.listen(COUNTER, Some(&file), host, false);
        self.listen(COUNTER, Some(&file), beyond, true);
        Counter(file)
    }

    fn listen(&mut self, program: &str, file: Option<&Path>, targets: &[&str], beyond: bool) {
        let mut command = match beyond {
            true => {
                let mut command = self.engine.beside("nsenter");
                command.arg(format!("--net={}/netns", self.beyond.path().display())).arg("python3");
                command
            }
            false => self.engine.beside("python3"),
        };
        let child = command.args(["-c", program]).args(file).args(targets).stdin(Stdio::null());
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let listen = BufReader::new(child.stdout.take().unwrap()).lines().take(targets.len());
        assert_eq!(listen.map_while(Result::ok).count(), targets.len(), "a greeter is not listening");
        self._greeters.push(Background(child));
    }
}

struct Counter(PathBuf);

impl Counter {
    fn packets(&self, address: &str) -> usize {
        let arrived = std::fs::read_to_string(&self.0).unwrap();
        arrived.lines().filter(|line| *line == address).count()
    }

    fn wait_for_more(&self, address: &str) {
        let before = self.packets(address);
        wait_until("more packets arrive", Duration::from_secs(30), || {
            (self.packets(address) > before + 100).then_some(())
        });
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

/// The kernel limits the rate of its errors, and a lost packet of UDP is not repeated.
fn as_refused(line: &str) -> String {
    match line.starts_with("udp") {
        true => line.replace("refused: timed out", "refused: ECONNREFUSED"),
        false => line.to_owned(),
    }
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
        "udp,168.63.129.16,53",
        "tcp,168.63.129.16,80",
        "tcp,100.100.100.200,80",
        "tcp,100.96.0.96,80",
        "tcp,100.80.80.80,80",
        "tcp,192.0.0.192,80",
        &daemon,
    ];
    let auto = ("RGRID_SANDBOX__FIREWALL", "auto");
    let listen = ("RGRID_HTTP__LISTEN", "0.0.0.0:8080");
    let open = ("RGRID_AUTH__I_KNOW_THIS_IS_OPEN", "true");

    // Without the firewall all of them answer, which proves that the firewall blocks them below.
    let open_world = attack(&world, &[("RGRID_SANDBOX__FIREWALL", "off")], &targets[..16]);
    assert!(open_world[..16].iter().all(|line| line.contains("ALLOWED: b'hello'")), "{open_world:#?}");
    assert_eq!(open_world[16..], ["routes 2", "ipv6 0"]);

    let said = attack(&world, &[auto, listen, open], &targets);
    for (at, (line, target)) in said.iter().zip(targets).enumerate() {
        let result = if at < 2 { "ALLOWED: b'hello'" } else { "refused: ECONNREFUSED" };
        assert_eq!(as_refused(line), format!("{target} - {result}"), "{said:#?}");
    }

    // The settings block an internal network and open a port of the host. The next start restores flushed rules.
    world.engine.shell("iptables -F INPUT; iptables -F DOCKER-USER");
    let blocked = ("RGRID_SANDBOX__BLOCKED", "[\"10.0.0.0/8\"]");
    let ports = ("RGRID_SANDBOX__HOST_PORTS", "[3141]");
    let said = attack(&world, &[("RGRID_SANDBOX__FIREWALL", "require"), blocked, ports], &targets[..7]);
    let allowed: Vec<bool> = said[..7].iter().map(|line| line.contains("ALLOWED")).collect();
    assert_eq!(allowed, [true, false, true, false, false, false, true], "{said:#?}");
}

/// Docker's resolver sends their queries through the firewall.
#[test]
fn sandboxes_reach_only_port_53_of_their_own_name_servers() {
    let world = World::new();
    let targets = [
        "dns,rgrid.example,0",
        "udp,169.254.169.254,53",
        "udp,192.0.2.1,53",
        "tcp,169.254.169.254,80",
        "tcp,192.0.2.1,5432",
        "udp,168.63.129.16,53",
        "udp,172.18.0.1,53",
    ];
    let dns = ("RGRID_SANDBOX__DNS", "[169.254.169.254, 192.0.2.1]");
    for fresh in ["true", "false"] {
        let fresh = ("RGRID_SANDBOX__FRESH_NETWORK", fresh);
        let said = attack(&world, &[("RGRID_SANDBOX__FIREWALL", "require"), dns, fresh], &targets);
        let results = said.iter().map(|line| as_refused(line).split_once(" - ").unwrap().1.to_owned());
        let (name, open) = ("ALLOWED: '203.0.113.7'", "ALLOWED: b'hello'");
        let closed = "refused: ECONNREFUSED";
        let expected = [name, open, open, closed, closed, closed, closed];
        assert_eq!(results.take(7).collect::<Vec<_>>(), expected, "{said:#?}");
    }
    let counted = world.engine.beside("iptables").args(["-nvxL", "RGRID-FORWARD"]).output().unwrap();
    let counted = String::from_utf8(counted.stdout).unwrap();
    let rule = counted.lines().find(|line| line.contains("169.254.169.254") && line.contains("udp dpt:53"));
    let packets: u32 = rule.unwrap().split_whitespace().next().unwrap().parse().unwrap();
    // One of each run is the script's own.
    assert!(packets > 2, "{counted}");
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
    let engine = PrivateEngine::with_images(&["python:3.11-slim"]);
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

    // It needs no engine to restore them, even if Docker's own chain is gone.
    engine.kill();
    assert!(does("check"));
    let mut keeper = Background(firewall("keep").spawn().unwrap());
    engine.shell("iptables -F; iptables -X; iptables -t security -F");
    wait_until("the rules are restored", Duration::from_secs(10), || {
        engine
            .beside("iptables-save")
            .output()
            .is_ok_and(|saved| {
                let saved = String::from_utf8(saved.stdout).unwrap();
                let jumps = [
                    "-A FORWARD -j DOCKER-USER\n",
                    "-A DOCKER-USER -i br-",
                    "-A FORWARD -i br-",
                    "-A INPUT -i br-",
                ];
                jumps.iter().all(|jump| saved.contains(jump))
            })
            .then_some(())
    });
    assert!(keeper.0.try_wait().unwrap().is_none());
    drop(keeper);
    engine.revive();
    assert!(does("check"));
    engine.shell("iptables -F RGRID-HOST");
    assert!(!does("check") && does("up") && does("check"));
    assert!(does("down") && !does("check"));

    // A daemon needs them even if scripts have no network, because installs have one.
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database)
        .with("RGRID_DOCKER__HOST", engine.host())
        .with("RGRID_SANDBOX__NETWORK_NAME", "rgrid-internet")
        .with("RGRID_SANDBOX__NETWORK", "none")
        .with("RGRID_SANDBOX__FIREWALL", "require");
    let daemon = daemon.inside(&engine.namespace()).start();
    assert!(does("check"));
    drop(daemon);
}

/// A worker on the private Docker host, and an API beside it.
fn start_pair(world: &World, database: &Database, settings: &[(&str, &str)]) -> (Daemon, Daemon) {
    let worker = DaemonBuilder::plain(database)
        .named("host-a")
        .with("RGRID_DOCKER__HOST", world.engine.host())
        .with("RGRID_SANDBOX__FIREWALL", "auto")
        .inside(&world.engine.namespace());
    let worker = settings.iter().fold(worker, |worker, (name, value)| worker.with(name, value)).start();
    (worker, DaemonBuilder::plain(database).role("api").start())
}

/// The status of the worker's `/readyz`, and what it says.
fn readiness(world: &World, worker: &Daemon) -> (bool, String) {
    let url = format!("{}/readyz", worker.url());
    let output = world.engine.beside("curl").args(["-s", "-w", "%{http_code}", &url]).output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    (answer.ends_with("200"), answer)
}

#[test]
fn no_packet_passes_while_the_jumps_are_gone_and_docker_is_down_or_later() {
    let mut world = World::new();
    let (open, closed) = ("198.51.100.7", ["169.254.169.254", "172.18.0.1"]);
    // All addresses of the host, because the sandboxes' network does not exist yet.
    let packets = world.count(&["0.0.0.0"], &[open, closed[0]]);
    let arrived = |packets: &Counter| [packets.packets(closed[0]), packets.packets("0.0.0.0")];
    let database = Database::new();
    let (worker, api) = start_pair(&world, &database, &[]);
    let id = api.http().submit_with(SENDER, json!({ "timeout_seconds": 120, "max_attempts": 1 }));
    packets.wait_for_more(open);

    world.engine.kill();
    for _ in 0..2 {
        world.engine.shell(
            "iptables -F INPUT; iptables -F DOCKER-USER; iptables -F FORWARD; iptables -P FORWARD ACCEPT",
        );
        packets.wait_for_more(open);
        assert_eq!(arrived(&packets), [0, 0]);
        // Long before Docker returns.
        wait_until("the jumps are restored", Duration::from_secs(10), || {
            let saved = world.engine.beside("iptables-save").args(["-t", "filter"]).output().unwrap();
            let saved = String::from_utf8(saved.stdout).unwrap();
            (saved.contains("-j RGRID-HOST") && saved.contains("-j RGRID-FORWARD")).then_some(())
        });
    }
    packets.wait_for_more(open);
    world.engine.shell("iptables -F INPUT; iptables -F DOCKER-USER");
    world.engine.revive();
    let end = api.http().wait(&id);
    assert_eq!(end["failure_kind"], "lost", "{end}");
    wait_until("the worker is ready", Duration::from_secs(60), || readiness(&world, &worker).0.then_some(()));
    let id = api.http().submit_with(SENDER, json!({ "timeout_seconds": 10 }));
    packets.wait_for_more(open);
    api.http().wait(&id);
    assert_eq!(arrived(&packets), [0, 0]);
}

/// The programs of iptables, which fail while this file exists.
fn breakable_programs(folder: &Path) -> PathBuf {
    let broken = folder.join("broken");
    for program in ["iptables", "iptables-save", "iptables-restore"] {
        let (path, broken) = (folder.join(program), broken.display());
        let text = format!(
            "#!/bin/sh\n[ ! -e {broken} ] || {{ echo 'out of order' >&2; exit 4; }}\n\
             PATH=/usr/sbin:/sbin exec {program} \"$@\"\n"
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    broken
}

#[test]
fn without_a_firewall_only_scripts_that_need_no_network_run() {
    let world = World::new();
    let database = Database::new();
    let folder = tempfile::tempdir().unwrap();
    let broken = breakable_programs(folder.path());
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    // The first script starts nine seconds after its claim, which is longer than a failure goes unnoticed.
    let settings = [("PATH", path.as_str()), ("RGRID_FAIL", "hand_over.filled=sleep:9000")];
    let (worker, api) = start_pair(&world, &database, &settings);
    let http = api.http();
    let doctor_says = |code: i32, line: &str| {
        wait_until(line, Duration::from_secs(15), || {
            let output = api.cli().run(&["doctor"]);
            (output.code == code && output.stdout.contains(line)).then_some(())
        });
    };
    let flush = || {
        std::fs::write(&broken, "").unwrap();
        world.engine.shell("iptables -F INPUT; iptables -F DOCKER-USER; iptables -t security -F");
        wait_until("it is not ready", Duration::from_secs(10), || {
            let (ready, answer) = readiness(&world, &worker);
            (!ready).then_some(answer)
        })
    };
    let claimed = http.submit("print('ran')");
    http.wait_for_status(&claimed, "running");
    flush();
    wait_until("the claimed script does not start", Duration::from_secs(10), || {
        worker.has_said("cannot verify the firewall: iptables-save failed").then_some(())
    });
    assert!(!worker.has_said("\"running\""));
    std::fs::remove_file(&broken).unwrap();
    let end = http.wait(&claimed);
    assert_eq!((&end["status"], &end["attempt"]), (&json!("completed"), &json!(1)), "{end}");
    assert!(readiness(&world, &worker).0);
    doctor_says(0, "ago, engine ok, firewall verified");

    let not_ready = flush();
    assert!(
        not_ready.contains("cannot verify the firewall: iptables-save failed (exit status: 4): out of order"),
        "{not_ready}"
    );
    let waiting: Vec<String> = (0..3).map(|_| http.submit("print('ran')")).collect();
    let installing = http.submit_with("print('ran')", json!({ "network": false, "requirements": "six" }));
    let offline = http.submit_with("print('ran')", json!({ "network": false }));
    assert_eq!(http.wait(&offline)["status"], "completed");
    for id in waiting.iter().chain([&installing]) {
        let waits_for = wait_until("it reports why it waits", Duration::from_secs(10), || {
            http.execution(id)["waits_for"].as_str().map(str::to_owned)
        });
        let expected =
            "no worker has a working firewall: host-a: iptables-save failed (exit status: 4): out of order";
        assert_eq!((waits_for.as_str(), &http.execution(id)["status"]), (expected, &json!("queued")));
    }
    doctor_says(
        1,
        "engine ok, firewall failed: iptables-save failed (exit status: 4): out of order; scripts that need",
    );
    let workers = http.get("/api/v1/workers").json();
    assert_eq!(workers["items"][0]["firewall"], "failed", "{workers}");
    assert!(http.get("/").body.contains("firewall: iptables-save failed"));
    // Docker's state is reported the same way.
    world.engine.kill();
    doctor_says(1, "engine failed: cannot reach Docker");
    world.engine.revive();
    doctor_says(1, "engine ok, firewall failed");

    http.post(&format!("/api/v1/executions/{installing}/cancel"), &json!({}));
    std::fs::remove_file(&broken).unwrap();
    let repaired = Instant::now();
    for id in &waiting {
        http.wait_for_status(id, "completed");
    }
    assert!(repaired.elapsed() < Duration::from_secs(10), "{:?}", repaired.elapsed());
    assert!(readiness(&world, &worker).0);
    doctor_says(0, "ago, engine ok, firewall verified");
    let saved = world.engine.beside("iptables-save").output().unwrap();
    let saved = String::from_utf8(saved.stdout).unwrap();
    assert_eq!(saved.matches(" -j RGRID-").count(), 4, "{saved}");
    assert!(worker.has_said("cannot verify the firewall; no script starts"), "{:#?}", worker.log());
}
