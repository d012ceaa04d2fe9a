//! Suggests packages for imports that nothing provides. It never fails, since an import may never be executed.

use std::path::Path;

use rgrid_api::requirements::normalize_name;

use crate::python::distributions::{is_in_standard_library, providing};
use crate::python::imports::{self, Import};

/// What is known about a script before it runs.
pub struct ImportContext<'a> {
    /// The minor version of Python 3.
    pub minor: Option<u32>,
    /// The normalized names of the installed packages; `None` if some are not known.
    pub packages: Option<&'a [String]>,
    /// Where to add another requirement: `requirements.txt`.
    pub place: &'a str,
    /// The names of the script and of the uploaded files.
    pub files: &'a [String],
    /// The folder of the script, unless it came from stdin.
    pub folder: Option<&'a Path>,
}

/// One sentence per missing module.
pub fn of(name: &str, source: &str, context: &ImportContext) -> Vec<String> {
    let mut sentences = Vec::new();
    for import in imports::find(source) {
        let sentence = context.suggestion(&import).map(|suggestion| format!("{name} imports {suggestion}"));
        sentences.extend(sentence.filter(|sentence| !sentences.contains(sentence)));
    }
    sentences
}

impl ImportContext<'_> {
    fn suggestion(&self, import: &Import) -> Option<String> {
        let top = import.top();
        if top.starts_with("__") || is_in_standard_library(top, self.minor) || self.is_uploaded(top) {
            return None;
        }
        if let Some(suggestion) = self.local_suggestion(top) {
            return Some(suggestion);
        }
        let providers = providing(&import.module, &import.names)?;
        let is_installed = |packages: &[String]| {
            providers.packages.iter().any(|name| packages.contains(&normalize_name(name)))
        };
        if self.packages.is_none_or(is_installed) {
            return None;
        }
        let package = providers.other_name().unwrap_or("it");
        Some(format!("{}; add {package} to {}", providers.import, self.place))
    }

    fn is_uploaded(&self, module: &str) -> bool {
        self.files.iter().any(|file| {
            let extension = file.strip_prefix(module).and_then(|rest| rest.strip_prefix('.'));
            extension.is_some_and(|extension| extension == "py" || extension.ends_with("so"))
        })
    }

    /// For a module that is next to the script but not uploaded.
    fn local_suggestion(&self, module: &str) -> Option<String> {
        let folder = self.folder?;
        let file = format!("{module}.py");
        if folder.join(&file).is_file() {
            return Some(format!("{module}; to upload {file}, name it after the script"));
        }
        let is_package = folder.join(module).join("__init__.py").is_file();
        is_package.then(|| format!("{module}, a folder; only single files are uploaded"))
    }
}

#[cfg(test)]
mod tests {
    use rgrid_api::Requirements;

    use super::*;

    fn suggest(source: &str, requirements: &str, minor: Option<u32>) -> Vec<String> {
        let requirements = Requirements::parse(requirements).unwrap();
        let packages = requirements.map_or(Some(Vec::new()), |requirements| requirements.package_names());
        let context = ImportContext {
            minor,
            packages: packages.as_deref(),
            place: "requirements.txt",
            files: &["script.py".to_owned(), "helper.py".to_owned()],
            folder: None,
        };
        of("script.py", source, &context)
    }

    #[test]
    fn a_package_is_suggested_once_for_each_missing_module() {
        assert_eq!(
            suggest("import requests, yaml, os\nfrom requests.auth import A", "", None),
            [
                "script.py imports requests; add it to requirements.txt",
                "script.py imports yaml; add PyYAML to requirements.txt"
            ]
        );
    }

    #[test]
    fn nothing_is_suggested_for_modules_that_are_provided() {
        let source =
            "import os, helper, script, yaml, cv2, __main__\nfrom flask_cors import CORS\nimport numpy";
        let requirements = "pyyaml>=6\nopencv-python-headless\nFLASK.CORS\npandas";
        for (source, requirements, minor) in [
            (source, requirements, None),
            ("import anything", "https://example.org/a.tar.gz", None),
            ("import tomllib", "", Some(11)),
        ] {
            assert_eq!(suggest(source, requirements, minor), Vec::<String>::new());
        }
        assert_eq!(suggest("import tomllib", "", Some(9)).len(), 1);
    }

    #[test]
    fn a_module_next_to_the_script_must_be_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tools.py"), "").unwrap();
        std::fs::create_dir(folder.path().join("pack")).unwrap();
        std::fs::write(folder.path().join("pack/__init__.py"), "").unwrap();
        let context = ImportContext {
            minor: None,
            packages: Some(&[]),
            place: "requirements.txt",
            files: &[],
            folder: Some(folder.path()),
        };
        assert_eq!(
            of("s.py", "import tools, pack", &context),
            [
                "s.py imports tools; to upload tools.py, name it after the script",
                "s.py imports pack, a folder; only single files are uploaded"
            ]
        );
    }
}
