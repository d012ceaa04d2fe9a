//! `rgrid init`: tries and saves the server's address and the API key.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::Context;
use crate::client::target::{self, DEFAULT_URL, Target, ValueSource};
use crate::client::{Client, RetryMode};
use crate::config_file::{self, ConfigFile};
use crate::error::{CliError, Exit, Result};

pub fn run(context: &Context) -> Result<Exit> {
    let path = config_file::path().ok_or_else(|| {
        CliError::failure("cannot locate the config file: neither XDG_CONFIG_HOME nor HOME is set")
    })?;
    let url = choose_url(context)?;
    let key = choose_key(&url, context.options.api_key.clone(), context)?;
    ConfigFile { api_url: Some(url.clone()), api_key: key }.write(&path)?;
    context.console.line(&format!("Server: {url}"))?;
    context.console.line(&format!("Saved: {}", path.display()))?;
    for variable in ["RGRID_API_URL", "RGRID_API_KEY"] {
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            context.console.hint(&format!("{variable} is set and overrides the config file"));
        }
    }
    Ok(Exit::Success)
}

fn choose_url(context: &Context) -> Result<String> {
    if let Some(url) = &context.options.api_url {
        return target::normalize_url(url, &ValueSource::Name("--api-url"));
    }
    if !is_interactive() {
        return Err(CliError::usage("cannot ask for the server's address without a terminal")
            .hint("use `rgrid init --api-url URL --api-key KEY`"));
    }
    // An invalid config file is about to be replaced, so its error does not matter.
    let current = Target::find(&context.options).map_or(DEFAULT_URL.to_owned(), |target| target.url);
    let answer = ask(&format!("Server [{current}]: "))?;
    target::normalize_url(if answer.is_empty() { &current } else { &answer }, &ValueSource::Default)
}

/// Asks for a key if the server requires one. Returns `None` if it does not.
fn choose_key(url: &str, given: Option<String>, context: &Context) -> Result<Option<String>> {
    match try_connection(url, given.as_deref(), context) {
        Ok(()) => Ok(given),
        Err(error) if error.exit == Exit::NotAllowed && given.is_none() && is_interactive() => {
            let answer = rpassword::prompt_password("API key: ")
                .map_err(|error| CliError::failure(format!("cannot read the key: {error}")))?;
            let key = answer.trim().to_owned();
            try_connection(url, Some(&key), context)?;
            Ok(Some(key))
        }
        Err(error) => Err(error),
    }
}

/// Checks that there is an RGrid server and that it accepts the key.
fn try_connection(url: &str, key: Option<&str>, context: &Context) -> Result {
    let source = ValueSource::Name("--api-key");
    if let Some(key) = key {
        target::check_key(key, &source)?;
    }
    let key = key.map(|key| (key.to_owned(), source));
    let target = Target { url: url.to_owned(), url_source: ValueSource::Name("--api-url"), key };
    let client = Client::new(target, RetryMode::Interactive, &context.console);
    client.health()?;
    client.executions(&[], None, 1).map(|_| ())
}

fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn ask(question: &str) -> Result<String> {
    let failed = |error: io::Error| CliError::failure(format!("cannot read the answer: {error}"));
    let mut stderr = io::stderr().lock();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}
