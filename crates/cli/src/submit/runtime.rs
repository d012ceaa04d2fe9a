//! The runtime for a script that says which Python it wants.

use rgrid_api::Runtime;

use crate::client::Server;
use crate::error::Failure;
use crate::python::versions;

/// The server's default when that fits, or else the newest that does.
pub fn choose(server: &Server, wanted: &str, script: &str) -> Result<String, Failure> {
    let (list, _) = server.runtimes()?;
    fitting(&list.items, wanted, script)
}

fn fitting(runtimes: &[Runtime], wanted: &str, script: &str) -> Result<String, Failure> {
    let pythons: Vec<(u32, &Runtime)> = runtimes
        .iter()
        .filter_map(|runtime| versions::minor_of(&runtime.name).map(|minor| (minor, runtime)))
        .collect();
    let mut fitting = Vec::new();
    for (minor, runtime) in &pythons {
        let fits = versions::allows(wanted, *minor)
            .map_err(|wrong| Failure::usage(format!("{script}: requires-python: {wrong}")))?;
        fitting.extend(fits.then_some((runtime.default, *minor, runtime)));
    }
    let best = fitting.into_iter().max_by_key(|(default, minor, _)| (*default, *minor));
    best.map(|(_, _, runtime)| runtime.name.clone()).ok_or_else(|| {
        let there: Vec<&str> = pythons.iter().map(|(_, runtime)| runtime.name.as_str()).collect();
        Failure::usage(format!("{script} wants Python {wanted}, and the server has {}", there.join(", ")))
            .hint("run it with one of these all the same: --runtime NAME")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &str) -> Result<String, Failure> {
        let runtime = |name: &str| Runtime {
            name: name.to_owned(),
            image: format!("{name}-slim"),
            aliases: Vec::new(),
            extensions: Vec::new(),
            default: name == "python:3.11",
        };
        let names = ["python:3.9", "python:3.10", "python:3.11", "python:3.12", "node:20"];
        fitting(&names.map(runtime), wanted, "s.py")
    }

    #[test]
    fn the_default_is_taken_when_it_fits_and_else_the_newest() {
        assert_eq!(chosen(">=3.8").unwrap(), "python:3.11");
        assert_eq!(chosen(">=3.12").unwrap(), "python:3.12");
        assert_eq!(chosen("<3.11").unwrap(), "python:3.10");
    }

    #[test]
    fn a_version_that_is_not_there_is_told_with_those_that_are() {
        let failure = chosen(">=3.13").unwrap_err();
        assert!(failure.what.ends_with("the server has python:3.9, python:3.10, python:3.11, python:3.12"));
        assert!(chosen("3.12").unwrap_err().what.contains("requires-python"));
    }
}
