//! `rgrid init`: which server to use, tried and kept.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::client::target::{self, DEFAULT_URL, Source, Target};
use crate::client::{Patience, Server};
use crate::config_file::{self, ConfigFile};
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;

const GIVE_FLAGS: &str = "without a terminal, give it: `rgrid init --api-url URL --api-key KEY`";

pub fn run(session: &Session) -> Result<Exit, Failure> {
    let path = config_file::path().ok_or_else(|| {
        Failure::failed("there is no place to keep it: neither XDG_CONFIG_HOME nor HOME is set")
    })?;
    let url = address(session)?;
    let key = tried(&url, session.options.api_key.clone(), session)?;
    ConfigFile { api_url: Some(url.clone()), api_key: key }.write(&path)?;
    session.console.line(&format!("Server: {url}"))?;
    session.console.line(&format!("Saved: {}", path.display()))?;
    for variable in ["RGRID_API_URL", "RGRID_API_KEY"] {
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            session.console.hint(&format!("{variable} is set, and wins over what was saved"));
        }
    }
    Ok(Exit::Fine)
}

fn address(session: &Session) -> Result<String, Failure> {
    if let Some(url) = &session.options.api_url {
        return target::normal(url, &Source::Flag("--api-url"));
    }
    if !is_interactive() {
        return Err(Failure::usage("which server?").hint(GIVE_FLAGS));
    }
    // A config file that is broken is about to be replaced.
    let present = Target::find(&session.options).map_or(DEFAULT_URL.to_owned(), |target| target.url);
    let typed = ask(&format!("Server [{present}]: "))?;
    target::normal(if typed.is_empty() { &present } else { &typed }, &Source::Default)
}

/// The key that the server takes, asked for when it wants one; none when it wants none.
fn tried(url: &str, given: Option<String>, session: &Session) -> Result<Option<String>, Failure> {
    match try_out(url, given.as_deref(), session) {
        Ok(()) => Ok(given),
        Err(failure) if failure.exit == Exit::NotAllowed && given.is_none() && is_interactive() => {
            let typed = rpassword::prompt_password("API key: ")
                .map_err(|error| Failure::failed(format!("the key can't be read: {error}")))?;
            let key = typed.trim().to_owned();
            try_out(url, Some(&key), session)?;
            Ok(Some(key))
        }
        Err(failure) => Err(failure),
    }
}

/// An RGrid lives there, and lets us in.
fn try_out(url: &str, key: Option<&str>, session: &Session) -> Result<(), Failure> {
    let source = Source::Flag("--api-key");
    if let Some(key) = key {
        target::check_key(key, &source)?;
    }
    let key = key.map(|key| (key.to_owned(), source));
    let target = Target { url: url.to_owned(), url_from: Source::Flag("--api-url"), key };
    let server = Server::new(target, Patience::Answer, &session.console);
    server.health()?;
    server.executions(&[("limit", "1".to_owned())]).map(|_| ())
}

fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn ask(question: &str) -> Result<String, Failure> {
    let unread = |error: io::Error| Failure::failed(format!("the answer can't be read: {error}"));
    let mut stderr = io::stderr().lock();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).map_err(unread)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(unread)?;
    Ok(line.trim().to_owned())
}
