//! Builds `rgrid-init` as a static binary, so that the daemon can carry it, and notes the commit.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "crates/commit.rs"]
mod commit;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    println!("cargo:rustc-env=RGRID_INIT_PATH={}", build_init(&out).display());
    println!("cargo:rustc-env=RGRID_COMMIT={}", commit::commit());
    for source in ["crates/init/src", "crates/init/Cargo.toml", "crates/commit.rs", "Cargo.lock", "build.rs"]
    {
        println!("cargo:rerun-if-changed={source}");
    }
}

/// A build of its own, in a folder of its own: the outer cargo holds the lock of the usual one.
fn build_init(out: &Path) -> PathBuf {
    let target = env::var("TARGET").unwrap_or_default();
    let folder = out.join("init");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--profile", "init", "--package", "rgrid-init", "--bin", "rgrid-init"])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    // What the outer cargo says to its own rustc is not meant for this one.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        let outer = text.starts_with("CARGO_") && text != "CARGO_HOME" && !text.starts_with("CARGO_NET");
        if outer || text == "RUSTC_WORKSPACE_WRAPPER" || text == "CLIPPY_ARGS" || text == "RUSTDOCFLAGS" {
            cargo.env_remove(name);
        }
    }
    let built = cargo.status();
    assert!(built.is_ok_and(|status| status.success()), "rgrid-init could not be built");
    folder.join(target).join("init/rgrid-init")
}
