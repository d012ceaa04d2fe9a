//! Several machines on one network: each is a network namespace with a Docker engine of its own; the host of the tests
//! is the gateway between them. Needs root.

use std::path::Path;
use std::process::Command;

use crate::support::PrivateEngine;

/// The machines go before their bridge.
pub struct Lan {
    machines: Vec<Machine>,
    bridge: Bridge,
}

pub struct Machine {
    pub name: &'static str,
    pub engine: PrivateEngine,
    pub address: String,
    /// The host's end of its cable.
    cable: String,
}

struct Bridge {
    name: String,
    /// The first three numbers of its addresses.
    net: String,
}

impl Lan {
    /// Each with these images of the machine's engine.
    pub fn of(names: &[&'static str], images: &[&str]) -> Self {
        let bridge = Bridge::new();
        let engines: Vec<PrivateEngine> = std::thread::scope(|scope| {
            let starting: Vec<_> =
                names.iter().map(|_| scope.spawn(|| PrivateEngine::with_images(images))).collect();
            starting.into_iter().map(|engine| engine.join().unwrap()).collect()
        });
        let plugged = names.iter().zip(engines).enumerate();
        let machines = plugged.map(|(at, (name, engine))| bridge.plug(name, engine, at + 11)).collect();
        Self { machines, bridge }
    }

    /// Where the machines find this host.
    pub fn gateway(&self) -> String {
        self.bridge.gateway()
    }

    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    pub fn machine(&self, name: &str) -> &Machine {
        self.machines.iter().find(|machine| machine.name == name).unwrap()
    }
}

impl Machine {
    pub fn namespace(&self) -> std::path::PathBuf {
        self.engine.namespace()
    }

    /// Nothing comes in and nothing goes out; nobody is told.
    pub fn cut(&self) {
        shell(&format!("ip link set {} down", self.cable));
    }

    pub fn heal(&self) {
        shell(&format!("ip link set {} up", self.cable));
    }

    /// What `docker ARGS` prints there.
    pub fn docker(&self, arguments: &[&str]) -> String {
        crate::support::docker(&[&["-H", self.engine.host()], arguments].concat())
    }
}

impl Bridge {
    fn new() -> Self {
        let number = std::process::id() % 250 + 1;
        let bridge = Self { name: format!("rglan{number}"), net: format!("10.77.{number}") };
        let Self { name, net } = &bridge;
        shell(&format!(
            "ip link add {name} type bridge; ip address add {net}.1/24 dev {name}; ip link set {name} up; {}",
            bridge.rule("-I")
        ));
        bridge
    }

    fn gateway(&self) -> String {
        format!("{}.1", self.net)
    }

    /// The host's own Docker forwards nothing that it does not know.
    fn rule(&self, action: &str) -> String {
        format!("iptables -w {action} FORWARD -i {0} -o {0} -j ACCEPT", self.name)
    }

    fn plug(&self, name: &'static str, engine: PrivateEngine, number: usize) -> Machine {
        let cable = format!("{}-{number}", self.name);
        let address = format!("{}.{number}", self.net);
        let pid = std::fs::read_to_string(engine.folder().join("docker.pid")).unwrap();
        shell(&format!(
            "ip link add {cable} type veth peer name lan netns {}; ip link set {cable} master {} up",
            pid.trim(),
            self.name
        ));
        engine.shell(&format!(
            "ip address add {address}/24 dev lan; ip link set lan up; ip route add default via {}",
            self.gateway()
        ));
        Machine { name, engine, address, cable }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &self.rule("-D")]).status();
        let _ = Command::new("ip").args(["link", "delete", &self.name]).status();
    }
}

fn shell(line: &str) {
    let output = Command::new("sh").args(["-ec", line]).current_dir(Path::new("/")).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
