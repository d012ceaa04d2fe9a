//! Why pip could not install what a script requires.

use crate::execution::diagnosis::quoted;

/// Cause and advice; none when pip's own last words must do.
pub fn explain_install(said: &str) -> Option<String> {
    let unreachable = [
        "Temporary failure in name resolution",
        "Network is unreachable",
        "Failed to establish a new connection",
        "NewConnectionError",
    ];
    if unreachable.iter().any(|words| said.contains(words)) {
        return Some(
            "the package index can't be reached from this server's sandboxes; see install.index_url"
                .to_owned(),
        );
    }
    if said.contains("CERTIFICATE_VERIFY_FAILED") {
        return Some(
            "the package index has a certificate that is not trusted here; see install.ca_bundle".to_owned(),
        );
    }
    if said.contains("No space left on device") {
        return Some("the packages need more room than the server's disk has".to_owned());
    }
    if said.contains("ResolutionImpossible") {
        return Some(
            "two requirements can't be had together; loosen a version (`rgrid logs ID --install` says which)"
                .to_owned(),
        );
    }
    if let Some(line) = said.lines().find(|line| line.contains("Invalid requirement")) {
        return Some(format!(
            "a line of the requirements can't be read: {}",
            quoted(line.trim_start_matches("ERROR: "))
        ));
    }
    if let Some(compiler) = lacking_compiler(said) {
        return Some(format!(
            "a package has to be compiled with {compiler}, and the runtime's image has no compiler; ask for a version \
             that comes as a wheel for this Python"
        ));
    }
    no_distribution(said)
}

/// In the words of distutils, whatever its full name is, or in a shell's.
fn lacking_compiler(said: &str) -> Option<&str> {
    let of_distutils = said.lines().find_map(|line| {
        let (name, rest) = line.split_once("command '")?.1.split_once('\'')?;
        rest.starts_with(" failed: No such file").then_some(name)
    });
    let not_found = |tool: &&str| said.contains(&format!("{tool}: not found"));
    of_distutils.or_else(|| ["gcc", "cc", "g++", "rustc", "cmake"].into_iter().find(not_found))
}

fn no_distribution(said: &str) -> Option<String> {
    const NONE: &str = "No matching distribution found for ";
    let line = said.lines().rev().find(|line| line.contains(NONE))?;
    let wanted = line.split(NONE).nth(1)?.split(" (from").next()?.trim();
    let name: String =
        wanted.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).collect();
    let versions =
        said.lines().rev().find_map(|line| line.split("(from versions: ").nth(1)).unwrap_or("none");
    let newest =
        versions.split(')').next().and_then(|all| all.rsplit(", ").next()).filter(|last| *last != "none");
    Some(match newest {
        Some(newest) => {
            format!("there is no {} for this Python; the newest there is {newest}", quoted(wanted))
        }
        None => format!(
            "there is no package {} on the index; check its name (https://pypi.org/project/{name}/)",
            quoted(wanted)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_words_are_read() {
        let none = "ERROR: Could not find a version that satisfies the requirement nonsense-x (from versions: none)\nERROR: No matching distribution found for nonsense-x\n";
        assert!(explain_install(none).unwrap().contains("no package `nonsense-x` on the index"));
        let version = "ERROR: Could not find a version that satisfies the requirement six==9.9 (from versions: 1.15.0, 1.16.0)\nERROR: No matching distribution found for six==9.9\n";
        assert!(explain_install(version).unwrap().contains("newest there is 1.16.0"));
        let offline = "WARNING: Retrying … NewConnectionError('… Temporary failure in name resolution')\nERROR: No matching distribution found for six\n";
        assert!(explain_install(offline).unwrap().contains("install.index_url"));
        let compiler = "      error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory\n";
        assert!(explain_install(compiler).unwrap().contains("compiled with x86_64-linux-gnu-gcc,"));
        assert_eq!(explain_install("Collecting six"), None);
    }
}
