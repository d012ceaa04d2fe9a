//! `$XDG_CONFIG_HOME/rgrid/config.toml`: the server's address and the API key.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{CliError, Result};

#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// `None` if neither `XDG_CONFIG_HOME` nor `HOME` is set.
pub fn path() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("rgrid/config.toml"))
}

impl ConfigFile {
    /// A missing file counts as an empty one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::failure(format!("cannot read {}: {error}", path.display()))),
        };
        toml::from_str(&text).map_err(|error| invalid(path, &text, &error))
    }

    /// Replaces the file atomically; only its owner can read it.
    pub fn write(&self, path: &Path) -> Result {
        self.replace(path).map_err(|error| CliError::unwritable(path, &error))
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let mut file = tempfile::Builder::new()
            .prefix(".config-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder)?;
        file.write_all(b"# Written by `rgrid init`.\n")?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map(|_: File| ()).map_err(|error| error.error)
    }
}

/// Names the line but does not quote it, since it may contain the key.
fn invalid(path: &Path, text: &str, error: &toml::de::Error) -> CliError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    CliError::usage(format!("{}:{line}: {}", path.display(), error.message()))
        .hint("the file may contain api_url and api_key; `rgrid init` rewrites it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_read_back_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rgrid/config.toml");
        let config =
            ConfigFile { api_url: Some("http://a:1".to_owned()), api_key: Some("rg_\"x\\".to_owned()) };
        config.write(&path).unwrap();
        assert!(ConfigFile::read(&path).unwrap() == config);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_missing_file_counts_as_empty() {
        assert!(ConfigFile::read(Path::new("/nowhere/config.toml")).unwrap() == ConfigFile::default());
    }

    #[test]
    fn an_invalid_file_is_reported_with_its_line_but_without_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for text in ["api_url = \"x\"\napi_kay = \"rg_geheim\"\n", "\napi_key = rg_geheim\n"] {
            std::fs::write(&path, text).unwrap();
            let error = ConfigFile::read(&path).err().unwrap();
            assert!(error.message.contains("config.toml:2: "), "{error}");
            assert!(!error.message.contains("geheim"), "{error}");
        }
    }
}
