//! Which server is meant, and with which key: flags, then the environment, then the config file.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use ureq::http::Uri;

use crate::config_file::{self, ConfigFile};
use crate::error::Failure;

pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";
const URL_VARIABLE: &str = "RGRID_API_URL";
const KEY_VARIABLE: &str = "RGRID_API_KEY";

#[derive(Args)]
#[command(next_help_heading = "Server")]
pub struct TargetOptions {
    /// The server to talk to [env: RGRID_API_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub api_url: Option<String>,
    /// The key for it; better kept in the environment or by `rgrid init` [env: RGRID_API_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub api_key: Option<String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Flag(&'static str),
    Variable(&'static str),
    File(PathBuf),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) | Source::Variable(name) => f.write_str(name),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Default => f.write_str("the default"),
        }
    }
}

/// A server's address and the key for it.
#[derive(Clone)]
pub struct Target {
    /// Without a `/` at its end.
    pub url: String,
    pub url_from: Source,
    pub key: Option<(String, Source)>,
}

impl Target {
    pub fn find(options: &TargetOptions) -> Result<Self, Failure> {
        let path = config_file::path();
        let config = path.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        let variable = |name: &str| std::env::var(name).ok();
        Self::choose(options, variable, config, path.as_deref().unwrap_or(Path::new("config.toml")))
    }

    fn choose(
        options: &TargetOptions,
        variable: impl Fn(&str) -> Option<String>,
        config: ConfigFile,
        path: &Path,
    ) -> Result<Self, Failure> {
        // An empty value is one that was taken away: `RGRID_API_URL= rgrid list`.
        let pick = |flag: (&Option<String>, &'static str), name: &'static str| {
            let flagged = flag.0.clone().map(|value| (value, Source::Flag(flag.1)));
            flagged
                .or_else(|| variable(name).map(|value| (value, Source::Variable(name))))
                .filter(|(value, _)| !value.is_empty())
        };
        let kept_url = config.api_url.map(|url| normal(&url, &Source::File(path.to_owned()))).transpose()?;
        let (url, url_from) = match pick((&options.api_url, "--api-url"), URL_VARIABLE) {
            Some((url, source)) => (normal(&url, &source)?, source),
            None => match &kept_url {
                Some(url) => (url.clone(), Source::File(path.to_owned())),
                None => (DEFAULT_URL.to_owned(), Source::Default),
            },
        };
        // The key in the file was given for the server in the file; no other one is to see it.
        let kept_for = kept_url.as_deref().unwrap_or(DEFAULT_URL);
        let kept = config.api_key.filter(|_| kept_for == url).map(|key| (key, Source::File(path.to_owned())));
        let key = pick((&options.api_key, "--api-key"), KEY_VARIABLE).or(kept);
        if let Some((key, source)) = &key {
            check_key(key, source)?;
        }
        Ok(Self { url, url_from, key })
    }

    /// Nobody but this machine listens in, and no proxy can reach it.
    pub fn is_loopback(&self) -> bool {
        let uri = self.url.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// An address that requests can be made of.
pub fn normal(url: &str, source: &Source) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::usage(format!("{url:?} (from {source}) is no server address: {why}"));
    let like = |url: &str| format!("write it like {url}");
    let trimmed = url.trim().trim_end_matches('/');
    if !trimmed.contains("://") {
        return Err(
            wrong("it does not begin with http:// or https://").hint(like(&format!("http://{trimmed}")))
        );
    }
    let uri: Uri = trimmed.parse().map_err(|error| wrong(&format!("{error}")).hint(like(DEFAULT_URL)))?;
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("only http:// and https:// are spoken").hint(like(DEFAULT_URL)));
    }
    if authority.contains('@') {
        return Err(wrong("a name and a password are not used").hint("give the key with RGRID_API_KEY"));
    }
    if uri.host().unwrap_or_default().is_empty() || uri.query().is_some() {
        return Err(wrong("it needs a host, and nothing behind a ?").hint(like(DEFAULT_URL)));
    }
    Ok(trimmed.to_owned())
}

pub fn check_key(key: &str, source: &Source) -> Result<(), Failure> {
    if key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Failure::usage(format!("the API key from {source} holds a space or a character that no key has")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(flag: Option<&str>, variable: Option<&str>, config: Option<&str>) -> Target {
        let options = TargetOptions { api_url: flag.map(str::to_owned), api_key: None };
        let variable = |name: &str| variable.filter(|_| name == URL_VARIABLE).map(str::to_owned);
        let api_key = config.map(|_| "rg_kept".to_owned());
        let config = ConfigFile { api_url: config.map(str::to_owned), api_key };
        Target::choose(&options, variable, config, Path::new("/c")).unwrap()
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file_over_the_default() {
        let (flag, variable, config) = (Some("http://f"), Some("http://v/"), Some("http://c"));
        assert_eq!(chosen(flag, variable, config).url, "http://f");
        assert_eq!(chosen(None, variable, config).url, "http://v");
        assert_eq!(chosen(None, Some(""), config).url, "http://c");
        assert_eq!(chosen(None, None, None).url, DEFAULT_URL);
    }

    #[test]
    fn the_kept_key_goes_to_its_own_server_alone() {
        assert!(chosen(Some("http://c/"), None, Some("http://c")).key.is_some());
        assert!(chosen(Some("http://other"), None, Some("http://c")).key.is_none());
    }

    #[test]
    fn a_wrong_address_is_told_with_a_right_one() {
        let hint = |url: &str| normal(url, &Source::Flag("--api-url")).unwrap_err().hint.unwrap();
        assert_eq!(hint("localhost:8080"), "write it like http://localhost:8080");
        for bad in ["ftp://x", "http://", "http://a b", "http://u:p@h", "http://h?x=1", ""] {
            assert!(normal(bad, &Source::Default).is_err(), "{bad}");
        }
        assert_eq!(normal("https://h/rgrid/", &Source::Default).unwrap(), "https://h/rgrid");
    }

    #[test]
    fn loopback_is_known_by_its_address() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(chosen(Some(url), None, None).is_loopback(), expected, "{url}");
        }
    }
}
