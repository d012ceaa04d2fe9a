//! `$XDG_CONFIG_HOME/rgrid/config.toml`: which server, and the key for it.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Failure;

#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// None when there is neither `XDG_CONFIG_HOME` nor `HOME`.
pub fn path() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("rgrid/config.toml"))
}

impl ConfigFile {
    /// A file that does not exist says nothing.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::failed(format!("can't read {}: {error}", path.display()))),
        };
        toml::from_str(&text).map_err(|error| wrong(path, &text, &error))
    }

    /// Readable for nobody else, and there whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        self.put(path).map_err(|error| Failure::failed(format!("can't write {}: {error}", path.display())))
    }

    fn put(&self, path: &Path) -> io::Result<()> {
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

/// With the line, but without its content: that may be the key.
fn wrong(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Failure::usage(format!("{}:{line}: {}", path.display(), error.message()))
        .hint("it may hold api_url and api_key; `rgrid init` writes it anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rgrid/config.toml");
        let config =
            ConfigFile { api_url: Some("http://a:1".to_owned()), api_key: Some("rg_\"x\\".to_owned()) };
        config.write(&path).unwrap();
        assert!(ConfigFile::read(&path).unwrap() == config);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn no_file_says_nothing() {
        assert!(ConfigFile::read(Path::new("/nowhere/config.toml")).unwrap() == ConfigFile::default());
    }

    #[test]
    fn a_wrong_file_is_told_by_its_line_without_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for text in ["api_url = \"x\"\napi_kay = \"rg_geheim\"\n", "\napi_key = rg_geheim\n"] {
            std::fs::write(&path, text).unwrap();
            let failure = ConfigFile::read(&path).err().unwrap();
            assert!(failure.what.contains("config.toml:2: "), "{failure}");
            assert!(!failure.what.contains("geheim"), "{failure}");
        }
    }
}
