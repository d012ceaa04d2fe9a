//! From what is imported to what is installed.

const LIST: &str = include_str!("../../data/distributions.txt");

/// PEP 503: `Foo._bar` and `foo-bar` are one.
pub(crate) fn normalised(name: &str) -> String {
    let mut out = String::new();
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !out.is_empty() {
            out.push('-');
        }
        out.push_str(&part.to_ascii_lowercase());
    }
    out
}

/// Distributions that provide a module; the first is the one to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Providers {
    /// As it is imported, as far as that decides: `cv2`, `google.cloud.storage`.
    pub import: String,
    pub distributions: Vec<String>,
}

/// None when that can't be known: a part of a namespace that many distributions share.
pub(crate) fn providing(module: &str, names: &[String]) -> Option<Providers> {
    let deeper = names.iter().map(|name| format!("{module}.{name}"));
    let found = deeper.chain([module.to_owned()]).find_map(|dotted| listed(&dotted));
    if found.is_some() {
        return found;
    }
    let top = module.split('.').next().unwrap_or_default();
    let shared = format!("{top}.");
    if entries().any(|(import, _)| import.starts_with(&shared)) {
        return None;
    }
    Some(Providers { import: top.to_owned(), distributions: vec![top.to_owned()] })
}

/// The entry of the module or of the nearest one above it.
fn listed(dotted: &str) -> Option<Providers> {
    let mut import = dotted;
    loop {
        if let Some((_, distributions)) = entries().find(|(name, _)| *name == import) {
            let distributions = distributions.split(' ').map(str::to_owned).collect();
            return Some(Providers { import: import.to_owned(), distributions });
        }
        import = import.rsplit_once('.')?.0;
    }
}

fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIST.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(module: &str, names: &[&str]) -> Option<(String, String)> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let providers = providing(module, &names)?;
        Some((providers.import, providers.distributions.first()?.clone()))
    }

    #[test]
    fn names_are_normalised_as_pip_does() {
        assert_eq!(normalised("Foo._-bar"), "foo-bar");
        assert_eq!(normalised("PyYAML"), "pyyaml");
    }

    #[test]
    fn well_known_modules_have_their_distribution() {
        for (import, distribution) in [
            ("cv2", "opencv-python"),
            ("yaml", "PyYAML"),
            ("PIL", "Pillow"),
            ("sklearn", "scikit-learn"),
            ("bs4", "beautifulsoup4"),
            ("dotenv", "python-dotenv"),
            ("requests", "requests"),
            ("something_new", "something_new"),
        ] {
            assert_eq!(first(import, &[]), Some((import.to_owned(), distribution.to_owned())));
        }
    }

    #[test]
    fn a_shared_namespace_is_decided_by_what_is_below() {
        let storage = ("google.cloud.storage".to_owned(), "google-cloud-storage".to_owned());
        assert_eq!(first("google.cloud", &["storage"]), Some(storage.clone()));
        assert_eq!(first("google.cloud.storage.blob", &[]), Some(storage));
        assert_eq!(first("google.cloud", &["unheard_of"]), None);
        assert_eq!(first("sklearn.svm", &["SVC"]).unwrap().1, "scikit-learn");
    }

    #[test]
    fn every_line_of_the_list_is_well_formed() {
        for line in LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<_> = line.split(' ').collect();
            assert!(words.len() >= 2 && words.iter().all(|word| !word.is_empty()), "{line:?}");
        }
    }
}
