//! Builds `rgrid-init` as a static binary to embed in the daemon, and records the commit.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "crates/commit.rs"]
mod commit;

/// Variables that configure access to the registry: directory, network, certificates, mirrors.
const REGISTRY_VARIABLES: [&str; 5] =
    ["CARGO_HOME", "CARGO_NET", "CARGO_HTTP", "CARGO_REGISTR", "CARGO_SOURCE"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    println!("cargo:rustc-env=RGRID_INIT_PATH={}", build_init(&out).display());
    println!("cargo:rustc-env=RGRID_COMMIT={}", commit::commit());
    for source in ["crates/init/src", "crates/init/Cargo.toml", "crates/commit.rs", "Cargo.lock", "build.rs"]
    {
        println!("cargo:rerun-if-changed={source}");
    }
}

/// Runs a nested cargo with its own target directory, because the outer cargo holds the lock of the usual one.
fn build_init(out: &Path) -> PathBuf {
    let target = env::var("TARGET").unwrap_or_default();
    let target_dir = out.join("init");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--profile", "init", "--package", "rgrid-init", "--bin", "rgrid-init"])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    // The outer cargo sets variables for its own rustc that must not affect the nested build.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        let is_cargo =
            text.starts_with("CARGO_") && !REGISTRY_VARIABLES.iter().any(|kept| text.starts_with(kept));
        if is_cargo || ["RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS", "RUSTDOCFLAGS"].contains(&text.as_str()) {
            cargo.env_remove(name);
        }
    }
    let status = cargo.status();
    assert!(status.is_ok_and(|status| status.success()), "cannot build rgrid-init");
    target_dir.join(target).join("init/rgrid-init")
}
