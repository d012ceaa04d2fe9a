// Of two build scripts: which commit is built.

/// Such as `2e27433`. Where the sources come without a repository, as in an image's build, `RGRID_COMMIT` says it.
pub fn commit() -> String {
    println!("cargo:rerun-if-env-changed=RGRID_COMMIT");
    if let Some(given) = std::env::var("RGRID_COMMIT").ok().filter(|given| !given.is_empty()) {
        return given;
    }
    // HEAD names a branch and stays as it is; its log grows with each commit and each change of branch.
    if let Some(path) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&path).exists()
    {
        println!("cargo:rerun-if-changed={path}");
    }
    git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let said = std::process::Command::new("git").args(arguments).output().ok()?;
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}
