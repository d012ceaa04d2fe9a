//! Suggests packages for imports that nothing provides. It never fails, since an import may never be executed.

use std::path::Path;

use rgrid_api::requirements::normalize_name;

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
pub fn suggestions(name: &str, source: &str, context: &ImportContext) -> Vec<String> {
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
        let Providers { import, packages } = &providers;
        let other_name = packages.first().filter(|name| normalize_name(name) != normalize_name(import));
        let package = other_name.map_or("it", String::as_str);
        Some(format!("{import}; add {package} to {}", self.place))
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

const DISTRIBUTIONS: &str = include_str!("../../data/distributions.txt");
const STANDARD_LIBRARY: &str = include_str!("../../data/standard_library.txt");
/// The Python 3 minor versions in the list.
const OLDEST: u32 = 9;
const NEWEST: u32 = 13;

/// The packages that provide a module; the first one is suggested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Providers {
    /// The part of the module's name that identifies the package: `cv2`, `google.cloud.storage`.
    pub import: String,
    pub packages: Vec<String>,
}

/// Returns `None` for an unknown part of a namespace that many packages share.
pub(crate) fn providing(module: &str, names: &[String]) -> Option<Providers> {
    let deeper = names.iter().map(|name| format!("{module}.{name}"));
    let found = deeper.chain([module.to_owned()]).find_map(|dotted| find_listed(&dotted));
    if found.is_some() {
        return found;
    }
    let top = module.split('.').next().unwrap_or_default();
    let namespace = format!("{top}.");
    let is_shared = entries().any(|(import, _)| import.starts_with(&namespace));
    (!is_shared).then(|| Providers { import: top.to_owned(), packages: vec![top.to_owned()] })
}

/// The entry of the module or of its nearest listed parent.
fn find_listed(dotted: &str) -> Option<Providers> {
    let mut import = dotted;
    loop {
        if let Some((_, packages)) = entries().find(|(name, _)| *name == import) {
            let packages = packages.split(' ').map(str::to_owned).collect();
            return Some(Providers { import: import.to_owned(), packages });
        }
        import = import.rsplit_once('.')?.0;
    }
}

fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    DISTRIBUTIONS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '))
}

/// Whether Python 3.`minor` includes the module, or any version if `minor` is `None`. Newer versions count as the
/// newest one in the list.
pub(crate) fn is_in_standard_library(module: &str, minor: Option<u32>) -> bool {
    let minor = minor.map(|minor| minor.clamp(OLDEST, NEWEST));
    STANDARD_LIBRARY.lines().filter_map(parse_standard_module).any(|(name, first, last)| {
        name == module && minor.is_none_or(|minor| (first..=last).contains(&minor))
    })
}

fn parse_standard_module(line: &str) -> Option<(&str, u32, u32)> {
    let mut words = line.split(' ');
    let name = words.next().filter(|name| !name.starts_with('#'))?;
    Some((name, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
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
        suggestions("script.py", source, &context)
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
            suggestions("s.py", "import tools, pack", &context),
            [
                "s.py imports tools; to upload tools.py, name it after the script",
                "s.py imports pack, a folder; only single files are uploaded"
            ]
        );
    }

    fn first(module: &str, names: &[&str]) -> Option<(String, String)> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let providers = providing(module, &names)?;
        Some((providers.import, providers.packages.first()?.clone()))
    }

    #[test]
    fn well_known_modules_are_mapped_to_their_packages() {
        for (import, package) in [
            ("cv2", "opencv-python"),
            ("yaml", "PyYAML"),
            ("PIL", "Pillow"),
            ("sklearn", "scikit-learn"),
            ("bs4", "beautifulsoup4"),
            ("dotenv", "python-dotenv"),
            ("requests", "requests"),
            ("something_new", "something_new"),
        ] {
            assert_eq!(first(import, &[]), Some((import.to_owned(), package.to_owned())));
        }
    }

    #[test]
    fn a_shared_namespace_is_resolved_by_its_submodules() {
        let storage = ("google.cloud.storage".to_owned(), "google-cloud-storage".to_owned());
        assert_eq!(first("google.cloud", &["storage"]), Some(storage.clone()));
        assert_eq!(first("google.cloud.storage.blob", &[]), Some(storage));
        assert_eq!(first("google.cloud", &["unheard_of"]), None);
        assert_eq!(first("sklearn.svm", &["SVC"]).unwrap().1, "scikit-learn");
    }

    #[test]
    fn every_line_of_the_lists_is_valid() {
        for line in DISTRIBUTIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<_> = line.split(' ').collect();
            assert!(words.len() >= 2 && words.iter().all(|word| !word.is_empty()), "{line:?}");
        }
        let modules: Vec<_> = STANDARD_LIBRARY.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(modules.len() > 300);
        for line in modules {
            assert!(parse_standard_module(line).is_some(), "{line:?}");
        }
    }

    #[test]
    fn the_standard_library_depends_on_the_version() {
        for (module, minor, expected) in [
            ("json", None, true),
            ("os", Some(9), true),
            ("requests", None, false),
            ("tomllib", Some(11), true),
            ("tomllib", Some(10), false),
            ("tomllib", None, true),
            ("distutils", Some(11), true),
            ("distutils", Some(12), false),
            ("asyncio", Some(27), true),
            ("cgi", Some(27), false),
        ] {
            assert_eq!(is_in_standard_library(module, minor), expected, "{module} {minor:?}");
        }
    }
}
