//! Selects the server and the API key: options, then environment variables, then the config file.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use ureq::http::Uri;

use crate::config_file::{self, ConfigFile};
use crate::error::{CliError, Result};

pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";
const URL_VARIABLE: &str = "RGRID_API_URL";
const KEY_VARIABLE: &str = "RGRID_API_KEY";

#[derive(Args)]
#[command(next_help_heading = "Server")]
pub struct TargetOptions {
    /// Use this server [env: RGRID_API_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub api_url: Option<String>,
    /// Use this API key; prefer the variable or `rgrid init` [env: RGRID_API_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub api_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// An option or a variable.
    Name(&'static str),
    File(PathBuf),
    Default,
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueSource::Name(name) => f.write_str(name),
            ValueSource::File(path) => write!(f, "{}", path.display()),
            ValueSource::Default => f.write_str("the default"),
        }
    }
}

#[derive(Clone)]
pub struct Target {
    /// Without a trailing `/`.
    pub url: String,
    pub url_source: ValueSource,
    pub key: Option<(String, ValueSource)>,
}

impl Target {
    pub fn find(options: &TargetOptions) -> Result<Self> {
        let path = config_file::path();
        let config = path.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        let variable = |name: &str| std::env::var(name).ok();
        Self::select(options, variable, config, path.as_deref().unwrap_or(Path::new("config.toml")))
    }

    fn select(
        options: &TargetOptions,
        variable: impl Fn(&str) -> Option<String>,
        config: ConfigFile,
        path: &Path,
    ) -> Result<Self> {
        // An empty value counts as unset: `RGRID_API_URL= rgrid list`.
        let pick = |option: &Option<String>, flag: &'static str, name: &'static str| {
            let from_option = option.clone().map(|value| (value, ValueSource::Name(flag)));
            from_option
                .or_else(|| variable(name).map(|value| (value, ValueSource::Name(name))))
                .filter(|(value, _)| !value.is_empty())
        };
        let file = || ValueSource::File(path.to_owned());
        let saved_url = config.api_url.map(|url| normalize_url(&url, &file())).transpose()?;
        let (url, url_source) = match (pick(&options.api_url, "--api-url", URL_VARIABLE), &saved_url) {
            (Some((url, source)), _) => (normalize_url(&url, &source)?, source),
            (None, Some(url)) => (url.clone(), file()),
            (None, None) => (DEFAULT_URL.to_owned(), ValueSource::Default),
        };
        // A saved key is sent only to the server that it was saved for.
        let saved_for = saved_url.as_deref().unwrap_or(DEFAULT_URL);
        let saved_key = config.api_key.filter(|_| saved_for == url).map(|key| (key, file()));
        let key = pick(&options.api_key, "--api-key", KEY_VARIABLE).or(saved_key);
        if let Some((key, source)) = &key {
            check_key(key, source)?;
        }
        Ok(Self { url, url_source, key })
    }

    /// Traffic stays on this machine, and no proxy can reach the server.
    pub fn is_loopback(&self) -> bool {
        let uri = self.url.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Checks the address and removes a trailing `/`.
pub fn normalize_url(url: &str, source: &ValueSource) -> Result<String> {
    let invalid = |cause: &str, hint: &str| {
        let message = format!("{url:?} (from {source}) is not a server address: {cause}");
        CliError::usage(message).hint(hint)
    };
    let example = format!("use an address like {DEFAULT_URL}");
    let trimmed = url.trim().trim_end_matches('/');
    if !trimmed.contains("://") {
        let hint = format!("use http://{trimmed}");
        return Err(invalid("it does not start with http:// or https://", &hint));
    }
    let uri: Uri = trimmed.parse().map_err(|error| invalid(&format!("{error}"), &example))?;
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(invalid("it does not start with http:// or https://", &example));
    }
    if authority.contains('@') {
        let hint = "set the key with RGRID_API_KEY";
        return Err(invalid("a user name and a password are not supported", hint));
    }
    if uri.host().unwrap_or_default().is_empty() || uri.query().is_some() {
        return Err(invalid("it needs a host and no query", &example));
    }
    Ok(trimmed.to_owned())
}

pub fn check_key(key: &str, source: &ValueSource) -> Result {
    if key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(CliError::usage(format!("the API key from {source} contains a space or another invalid character")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(flag: Option<&str>, variable: Option<&str>, config: Option<&str>) -> Target {
        let options = TargetOptions { api_url: flag.map(str::to_owned), api_key: None };
        let variable = |name: &str| variable.filter(|_| name == URL_VARIABLE).map(str::to_owned);
        let api_key = config.map(|_| "rg_saved".to_owned());
        let config = ConfigFile { api_url: config.map(str::to_owned), api_key };
        Target::select(&options, variable, config, Path::new("/c")).unwrap()
    }

    #[test]
    fn options_override_variables_which_override_the_file_and_the_default() {
        let (flag, variable, config) = (Some("http://f"), Some("http://v/"), Some("http://c"));
        assert_eq!(selected(flag, variable, config).url, "http://f");
        assert_eq!(selected(None, variable, config).url, "http://v");
        assert_eq!(selected(None, Some(""), config).url, "http://c");
        assert_eq!(selected(None, None, None).url, DEFAULT_URL);
    }

    #[test]
    fn a_saved_key_is_sent_only_to_its_own_server() {
        assert!(selected(Some("http://c/"), None, Some("http://c")).key.is_some());
        assert!(selected(Some("http://other"), None, Some("http://c")).key.is_none());
    }

    #[test]
    fn an_invalid_address_is_reported_with_a_valid_one() {
        let hint = |url: &str| normalize_url(url, &ValueSource::Name("--api-url")).unwrap_err().hint.unwrap();
        assert_eq!(hint("localhost:8080"), "use http://localhost:8080");
        for bad in ["ftp://x", "http://", "http://a b", "http://u:p@h", "http://h?x=1", ""] {
            assert!(normalize_url(bad, &ValueSource::Default).is_err(), "{bad}");
        }
        assert_eq!(normalize_url("https://h/rgrid/", &ValueSource::Default).unwrap(), "https://h/rgrid");
    }

    #[test]
    fn loopback_addresses_are_recognized() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(selected(Some(url), None, None).is_loopback(), expected, "{url}");
        }
    }
}
