//! Explains why pip could not install the requirements.

use crate::execution::diagnosis::quoted;

/// Cause and advice; `None` if the output must speak for itself.
pub fn explain_install(output: &str) -> Option<String> {
    let known = [
        ("Temporary failure in name resolution", INDEX_UNREACHABLE),
        ("Network is unreachable", INDEX_UNREACHABLE),
        ("Failed to establish a new connection", INDEX_UNREACHABLE),
        ("NewConnectionError", INDEX_UNREACHABLE),
        (
            "CERTIFICATE_VERIFY_FAILED",
            "the package index has a certificate that is not trusted; see install.ca_bundle",
        ),
        ("No space left on device", "the server's disk is too full for the packages"),
        (
            "ResolutionImpossible",
            "two requirements conflict; loosen a version (see `rgrid logs ID --install` for the conflict)",
        ),
    ];
    if let Some((_, cause)) = known.iter().find(|(needle, _)| output.contains(needle)) {
        return Some((*cause).to_owned());
    }
    if let Some(line) = output.lines().find(|line| line.contains("Invalid requirement")) {
        return Some(format!("a requirement is invalid: {}", quoted(line.trim_start_matches("ERROR: "))));
    }
    if let Some(compiler) = missing_compiler(output) {
        return Some(format!(
            "a package must be compiled with {compiler}, and the runtime's image has no compiler; choose a version \
             that is available as a wheel for this Python"
        ));
    }
    explain_no_distribution(output)
}

const INDEX_UNREACHABLE: &str =
    "the package index cannot be reached from this server's sandboxes; see install.index_url";

/// Reads the messages of distutils (with any prefix of the compiler's name) and of a shell.
fn missing_compiler(output: &str) -> Option<&str> {
    let from_distutils = output.lines().find_map(|line| {
        let (name, rest) = line.split_once("command '")?.1.split_once('\'')?;
        rest.starts_with(" failed: No such file").then_some(name)
    });
    let not_found = |tool: &&str| output.contains(&format!("{tool}: not found"));
    from_distutils.or_else(|| ["gcc", "cc", "g++", "rustc", "cmake"].into_iter().find(not_found))
}

fn explain_no_distribution(output: &str) -> Option<String> {
    const NO_MATCH: &str = "No matching distribution found for ";
    let line = output.lines().rev().find(|line| line.contains(NO_MATCH))?;
    let wanted = line.split(NO_MATCH).nth(1)?.split(" (from").next()?.trim();
    let in_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = wanted.chars().take_while(in_name).collect();
    let versions = output.lines().rev().find_map(|line| line.split("(from versions: ").nth(1));
    let newest = versions.and_then(|list| list.split(')').next()?.rsplit(", ").next());
    Some(match newest.filter(|newest| *newest != "none") {
        Some(newest) => format!("there is no {} for this Python; the newest is {newest}", quoted(wanted)),
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
    fn known_errors_of_pip_are_explained() {
        let cases = [
            (
                "ERROR: Could not find a version that satisfies the requirement nonsense-x (from versions: none)\n\
                 ERROR: No matching distribution found for nonsense-x\n",
                "no package `nonsense-x` on the index",
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement six==9.9 (from versions: 1.15.0, 1.16.0)\n\
                 ERROR: No matching distribution found for six==9.9\n",
                "the newest is 1.16.0",
            ),
            (
                "WARNING: Retrying … NewConnectionError('… Temporary failure in name resolution')\n\
                 ERROR: No matching distribution found for six\n",
                "install.index_url",
            ),
            (
                "      error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory\n",
                "compiled with x86_64-linux-gnu-gcc,",
            ),
            ("/bin/sh: 1: cmake: not found\n", "compiled with cmake,"),
            ("SSL: CERTIFICATE_VERIFY_FAILED\n", "install.ca_bundle"),
            ("OSError: [Errno 28] No space left on device\n", "disk is too full"),
            ("ERROR: ResolutionImpossible: for help visit\n", "two requirements conflict"),
            ("ERROR: Invalid requirement: '=='\n", "invalid: `Invalid requirement: '=='`"),
        ];
        for (output, expected) in cases {
            let cause = explain_install(output).unwrap();
            assert!(cause.contains(expected), "{cause}");
        }
        assert_eq!(explain_install("Collecting six"), None);
    }
}
