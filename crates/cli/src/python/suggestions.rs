//! Imports that nothing will provide, told before the run: never an error, since they may never be
//! reached.

use std::path::Path;

use crate::python::distributions::{self, normalised};
use crate::python::imports::{self, Import};
use crate::python::requirements::Required;
use crate::python::standard_library;

/// What is known of a script before it runs.
pub struct Surroundings<'a> {
    /// Python 3.`minor`, when that is known.
    pub minor: Option<u32>,
    pub required: &'a Required,
    /// Where one more requirement belongs: `requirements.txt`.
    pub place: &'a str,
    /// The script's own name and those of the files that go along.
    pub files: &'a [String],
    /// Where the script lies, unless it came from stdin.
    pub folder: Option<&'a Path>,
}

/// One sentence for each module that is missing.
pub fn of(name: &str, source: &str, around: &Surroundings) -> Vec<String> {
    let mut sentences = Vec::new();
    for import in imports::of(source) {
        if let Some(rest) = around.missing(&import) {
            let sentence = format!("{name} imports {rest}");
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
    }
    sentences
}

impl Surroundings<'_> {
    fn missing(&self, import: &Import) -> Option<String> {
        let top = import.top();
        if top.starts_with("__") || standard_library::has(top, self.minor) || self.goes_along(top) {
            return None;
        }
        if let Some(beside) = self.stays_at_home(top) {
            return Some(beside);
        }
        let providers = distributions::providing(&import.module, &import.names)?;
        let distribution = providers.distributions.first()?;
        if self.required.may_provide(&providers.distributions) {
            return None;
        }
        let same = normalised(distribution) == normalised(&providers.import);
        let what = if same { "it" } else { distribution };
        Some(format!("{}; add {what} to {}", providers.import, self.place))
    }

    fn goes_along(&self, module: &str) -> bool {
        self.files.iter().any(|file| {
            let rest = file.strip_prefix(module).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|ending| ending == "py" || ending.ends_with("so"))
        })
    }

    fn stays_at_home(&self, module: &str) -> Option<String> {
        let folder = self.folder?;
        let file = format!("{module}.py");
        if folder.join(&file).is_file() {
            return Some(format!("{module}; name {file} behind the script, so that it goes along"));
        }
        let is_package = folder.join(module).join("__init__.py").is_file();
        is_package.then(|| format!("{module}, a folder; only single files go along"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(source: &str, requirements: &str, minor: Option<u32>) -> Vec<String> {
        let around = Surroundings {
            minor,
            required: &Required::of(requirements),
            place: "requirements.txt",
            files: &["script.py".to_owned(), "helper.py".to_owned()],
            folder: None,
        };
        of("script.py", source, &around)
    }

    #[test]
    fn a_missing_module_is_suggested_by_what_to_install() {
        assert_eq!(
            suggested("import requests, yaml, os", "", None),
            [
                "script.py imports requests; add it to requirements.txt",
                "script.py imports yaml; add PyYAML to requirements.txt"
            ]
        );
    }

    #[test]
    fn what_is_there_is_not_suggested() {
        let source =
            "import os, helper, script, yaml, cv2, __main__\nfrom flask_cors import CORS\nimport numpy";
        let requirements = "pyyaml>=6\nopencv-python-headless\nFLASK.CORS\npandas";
        assert_eq!(suggested(source, requirements, None), Vec::<String>::new());
        assert_eq!(suggested("import anything", "-r base.txt", None), Vec::<String>::new());
    }

    #[test]
    fn the_version_decides_about_the_standard_library() {
        assert_eq!(suggested("import tomllib", "", Some(11)), Vec::<String>::new());
        assert_eq!(suggested("import tomllib", "", Some(9)).len(), 1);
    }

    #[test]
    fn each_module_is_told_once() {
        assert_eq!(suggested("import requests\nfrom requests.auth import A", "", None).len(), 1);
    }

    #[test]
    fn a_module_beside_the_script_has_to_be_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tools.py"), "").unwrap();
        std::fs::create_dir(folder.path().join("pack")).unwrap();
        std::fs::write(folder.path().join("pack/__init__.py"), "").unwrap();
        let around = Surroundings {
            minor: None,
            required: &Required::default(),
            place: "requirements.txt",
            files: &[],
            folder: Some(folder.path()),
        };
        assert_eq!(
            of("s.py", "import tools, pack", &around),
            [
                "s.py imports tools; name tools.py behind the script, so that it goes along",
                "s.py imports pack, a folder; only single files go along"
            ]
        );
    }
}
