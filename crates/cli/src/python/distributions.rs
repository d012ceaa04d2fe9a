//! Maps imported modules to the packages that provide them.

use rgrid_api::requirements::normalize_name;

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

impl Providers {
    /// The package to suggest, or `None` if it has the name of the module.
    pub fn other_name(&self) -> Option<&str> {
        let name = self.packages.first()?;
        (normalize_name(name) != normalize_name(&self.import)).then_some(name)
    }
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
    use super::*;

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
