//! Variables whose values must not stand on a command line.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use crate::error::Failure;

/// Each value is taken from the caller's environment, or asked for without showing it.
pub fn of(names: &[String], env: &[(String, Option<String>)]) -> Result<BTreeMap<String, String>, Failure> {
    let mut secrets = BTreeMap::new();
    for name in names {
        if env.iter().any(|(other, _)| other == name) {
            return Err(Failure::usage(format!("{name} is given with --env and with --secret; choose one")));
        }
        secrets.insert(name.clone(), value(name)?);
    }
    Ok(secrets)
}

fn value(name: &str) -> Result<String, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(value),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("the value of the secret {name} is not UTF-8")))
        }
        // Stdin may be the script; the question is put to the terminal itself.
        Err(std::env::VarError::NotPresent) if io::stderr().is_terminal() => ask(name),
        Err(std::env::VarError::NotPresent) => Err(no_value(name)),
    }
}

fn ask(name: &str) -> Result<String, Failure> {
    rpassword::prompt_password(format!("{name}: ")).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => {
            Failure::new(crate::exit_code::Exit::Interrupted, "nothing was submitted")
        }
        _ => no_value(name),
    })
}

fn no_value(name: &str) -> Failure {
    Failure::usage(format!(
        "the secret {name} is not set in your environment, and there is no terminal to ask on"
    ))
    .hint(format!("set it first, without leaving it in the history: `read -rs {name}; export {name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_the_callers_environment() {
        assert_eq!(of(&["PATH".to_owned()], &[]).unwrap()["PATH"], std::env::var("PATH").unwrap());
    }

    #[test]
    fn one_name_is_either_a_variable_or_a_secret() {
        let env = [("PATH".to_owned(), Some("x".to_owned()))];
        assert!(of(&["PATH".to_owned()], &env).unwrap_err().what.contains("choose one"));
    }
}
