//! Two daemons that are started again whenever they end, as an operator's restart policy does, and what they stand on.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::faults::fault_run::LEASE;
use crate::support::{DaemonBuilder, Engine, Http, Postgres, Proxy, free_port, wait_until};

pub struct Fleet {
    pub postgres: Postgres,
    pub engine: Engine,
    pub units: [Unit; 2],
}

pub struct Unit {
    pub name: &'static str,
    pub url: String,
    pub proxy: Proxy,
    builder: DaemonBuilder,
    life: Mutex<Life>,
}

struct Life {
    child: Option<Child>,
    /// It stays dead until then.
    not_before: Instant,
    starts: u32,
}

impl Fleet {
    pub fn start() -> Self {
        let (engine, postgres) = (Engine::take(), Postgres::new());
        let unit = |name| Unit::new(name, &postgres, &engine);
        let fleet = Self { units: [unit("one"), unit("two")], postgres, engine };
        // Both at once, on an empty database.
        fleet.units.iter().for_each(Unit::tend);
        wait_until("both are ready", Duration::from_secs(60), || fleet.is_ready().then_some(()));
        fleet
    }

    pub fn tend_until(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            self.units.iter().for_each(Unit::tend);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn is_ready(&self) -> bool {
        self.units.iter().all(Unit::is_ready)
    }
}

impl Unit {
    fn new(name: &'static str, postgres: &Postgres, engine: &Engine) -> Self {
        let (proxy, database) = postgres.proxied();
        let port = free_port();
        let builder = DaemonBuilder::at(&database)
            .named(name)
            .slots(2)
            .lease(&format!("{}s", LEASE.as_secs()))
            .with("RGRID_HTTP__LISTEN", &format!("127.0.0.1:{port}"))
            .with("RGRID_DOCKER__HOST", &engine.host());
        let life = Mutex::new(Life { child: None, not_before: Instant::now(), starts: 0 });
        Self { name, url: format!("http://127.0.0.1:{port}"), proxy, builder, life }
    }

    pub fn http(&self) -> Http {
        Http::impatient(&self.url)
    }

    pub fn is_ready(&self) -> bool {
        self.http().try_get("/readyz").is_some_and(|answer| answer.status == 200)
    }

    /// kill -9.
    pub fn kill(&self, down: Duration) {
        let mut life = self.life.lock().unwrap();
        if let Some(mut child) = life.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        life.not_before = Instant::now() + down;
    }

    /// Starts it when it has ended.
    fn tend(&self) {
        let mut life = self.life.lock().unwrap();
        let lives = life.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none());
        if !lives && Instant::now() >= life.not_before {
            life.starts += 1;
            life.child = Some(self.builder.serving().stderr(self.log_file(life.starts)).spawn().unwrap());
            // One that can't start is not started in a spin.
            life.not_before = Instant::now() + Duration::from_millis(500);
        }
    }

    /// SIGTERM; how it ended.
    pub fn stop(&self) -> Option<i32> {
        let mut child = self.life.lock().unwrap().child.take()?;
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        wait_until("it stops", Duration::from_secs(90), || child.try_wait().unwrap()).code()
    }

    fn log_file(&self, start: u32) -> File {
        File::create(self.builder.data_dir().join(format!("log-{start}"))).unwrap()
    }

    /// All lines that it has logged, over all its lives.
    pub fn log(&self) -> Vec<String> {
        let starts = self.life.lock().unwrap().starts;
        let path = |start| -> PathBuf { self.builder.data_dir().join(format!("log-{start}")) };
        let texts = (1..=starts).map(|start| std::fs::read(path(start)).unwrap_or_default());
        texts
            .flat_map(|text| String::from_utf8_lossy(&text).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}
