//! Errors of the API in the words of the command line.

use rgrid_api::{FieldError, Problem};

use crate::client::target::Target;
use crate::error::Failure;
use crate::exit_code::Exit;

pub(crate) fn failure(problem: Problem, target: &Target) -> Failure {
    match problem.status {
        401 => unknown_key(target),
        403 => Failure::new(Exit::NotAllowed, format!("the API key may not do that: {}", said(&problem)))
            .hint("ask for another key: `rgridd keys create` on the server makes one"),
        404 if is_elsewhere(&problem) => elsewhere(target),
        404 => Failure::new(Exit::NotFound, said(&problem)).hint("`rgrid list` shows what there is"),
        422 => unprocessable(problem),
        400 | 413 | 415 => hinted(Failure::usage(said(&problem)), problem.hint),
        503 => {
            let what = format!("{} can't serve: {}", target.url, said(&problem));
            hinted(Failure::new(Exit::Unreachable, what), problem.hint)
        }
        _ => hinted(Failure::failed(said(&problem)), problem.hint),
    }
}

/// No such path, which is another thing than no such execution.
fn is_elsewhere(problem: &Problem) -> bool {
    problem.detail.starts_with("there is nothing at ")
}

/// An address with a path too many, or a server that is older than this command.
fn elsewhere(target: &Target) -> Failure {
    let what = format!("an RGrid server answers at {}, but its API is not there", target.url);
    Failure::new(Exit::Unreachable, what).hint(crate::client::error::check(target))
}

fn hinted(failure: Failure, hint: Option<String>) -> Failure {
    Failure { hint, ..failure }
}

fn said(problem: &Problem) -> String {
    if problem.detail.is_empty() { problem.title.clone() } else { problem.detail.clone() }
}

fn unknown_key(target: &Target) -> Failure {
    match &target.key {
        None => Failure::new(Exit::NotAllowed, format!("{} wants an API key", target.url))
            .hint("keep one with `rgrid init`, or set RGRID_API_KEY"),
        Some((_, source)) => Failure::new(
            Exit::NotAllowed,
            format!("{} does not know the API key from {source}", target.url),
        )
        .hint("`rgridd keys list` on the server tells which keys there are; `rgrid init` keeps another one"),
    }
}

fn unprocessable(problem: Problem) -> Failure {
    let mut lines: Vec<String> = problem.errors.iter().map(line).collect();
    let failure = match lines.len() {
        0 => Failure::usage(said(&problem)),
        1 => Failure::usage(lines.remove(0)),
        _ => Failure { details: lines, ..Failure::usage("the server can't take this:") },
    };
    hinted(failure, problem.hint)
}

fn line(error: &FieldError) -> String {
    match option(&error.field) {
        name if name.is_empty() => error.message.clone(),
        name => format!("{name}: {}", error.message),
    }
}

/// Where on the command line that field came from.
fn option(field: &str) -> String {
    let plain = match field {
        "timeout_seconds" => "--timeout",
        "memory_mb" => "--memory",
        "cpus" => "--cpus",
        "network" => "--no-network",
        "runtime" => "--runtime",
        "requirements" => "requirements",
        "max_attempts" => "--max-attempts",
        "script.content" => "the script",
        "script.name" => "the script's name",
        "status" => "--status",
        "limit" => "--limit",
        "label" => "--label",
        _ => "",
    };
    if !plain.is_empty() {
        return plain.to_owned();
    }
    let inner = [("env.", "--env"), ("secrets.", "--secret"), ("labels.", "--label")];
    let found = inner
        .iter()
        .find_map(|(prefix, option)| field.strip_prefix(prefix).map(|name| format!("{option} {name}")));
    found.unwrap_or_else(|| field.to_owned())
}

#[cfg(test)]
mod tests {
    use rgrid_api::units::format_size;

    use super::*;
    use crate::client::target::Source;

    fn target(key: Option<&str>) -> Target {
        Target {
            url: "http://h".to_owned(),
            url_from: Source::Default,
            key: key.map(|key| (key.to_owned(), Source::Variable("RGRID_API_KEY"))),
        }
    }

    fn problem(status: u16, fields: &[(&str, &str)]) -> Problem {
        let error = |(field, message): &(&str, &str)| FieldError {
            field: (*field).to_owned(),
            message: (*message).to_owned(),
        };
        Problem {
            kind: "about:blank".to_owned(),
            title: "title".to_owned(),
            status,
            detail: "detail".to_owned(),
            hint: None,
            errors: fields.iter().map(error).collect(),
        }
    }

    #[test]
    fn each_status_has_its_exit_code_and_no_number_in_its_words() {
        for (status, code) in [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 3),
            (409, 1),
            (413, 2),
            (422, 2),
            (429, 1),
            (500, 1),
            (503, 5),
        ] {
            let failure = failure(problem(status, &[]), &target(None));
            assert_eq!(failure.exit.code(), code, "{status}");
            assert!(!failure.what.contains(&status.to_string()), "{failure}");
        }
    }

    #[test]
    fn a_missing_key_is_told_from_a_wrong_one() {
        assert!(failure(problem(401, &[]), &target(None)).what.contains("wants an API key"));
        let wrong = failure(problem(401, &[]), &target(Some("rg_geheim")));
        assert!(wrong.what.contains("from RGRID_API_KEY") && !wrong.what.contains("geheim"), "{wrong}");
    }

    #[test]
    fn fields_are_called_as_on_the_command_line() {
        let one = failure(problem(422, &[("timeout_seconds", "too long")]), &target(None));
        assert_eq!(one.what, "--timeout: too long");
        let several = [("env.1X", "no name"), ("files[1].name", &format_size(12)), ("", "odd")];
        let several = failure(problem(422, &several), &target(None));
        assert_eq!(several.details, ["--env 1X: no name", "files[1].name: 12 B", "odd"]);
    }
}
