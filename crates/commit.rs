// Shared by the build scripts of the daemon and the CLI.

/// The commit that is built, such as `2e27433`. `RGRID_COMMIT` sets it where there is no repository, as in the build of
/// an image.
pub fn commit() -> String {
    println!("cargo:rerun-if-env-changed=RGRID_COMMIT");
    if let Some(commit) = std::env::var("RGRID_COMMIT").ok().filter(|commit| !commit.is_empty()) {
        return commit;
    }
    // The log of HEAD changes with each commit and checkout; HEAD itself only contains the name of the branch.
    if let Some(path) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&path).exists()
    {
        println!("cargo:rerun-if-changed={path}");
    }
    git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
