//! Import names and the packages that provide them.

use crate::execution::diagnosis::{FailureContext, quoted};

/// Names under which packages are imported that are not their own. From their pages on PyPI.
const PROVIDED_BY: [(&str, &str); 36] = [
    ("Crypto", "pycryptodome"),
    ("MySQLdb", "mysqlclient"),
    ("OpenSSL", "pyOpenSSL"),
    ("PIL", "Pillow"),
    ("attr", "attrs"),
    ("bs4", "beautifulsoup4"),
    ("cairo", "pycairo"),
    ("cv2", "opencv-python-headless"),
    ("dateutil", "python-dateutil"),
    ("discord", "discord.py"),
    ("docx", "python-docx"),
    ("dotenv", "python-dotenv"),
    ("faiss", "faiss-cpu"),
    ("fitz", "PyMuPDF"),
    ("git", "GitPython"),
    ("github", "PyGithub"),
    ("gridfs", "pymongo"),
    ("igraph", "python-igraph"),
    ("jose", "python-jose"),
    ("jwt", "PyJWT"),
    ("kafka", "kafka-python"),
    ("ldap", "python-ldap"),
    ("magic", "python-magic"),
    ("markdown", "Markdown"),
    ("nacl", "PyNaCl"),
    ("pkg_resources", "setuptools"),
    ("pptx", "python-pptx"),
    ("psycopg2", "psycopg2-binary"),
    ("serial", "pyserial"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("slugify", "python-slugify"),
    ("telegram", "python-telegram-bot"),
    ("usb", "pyusb"),
    ("yaml", "PyYAML"),
    ("zmq", "pyzmq"),
];

/// Imported under their own names, and known to everybody.
const WELL_KNOWN: [&str; 40] = [
    "aiohttp",
    "altair",
    "anthropic",
    "arrow",
    "black",
    "boto3",
    "celery",
    "click",
    "django",
    "fastapi",
    "flask",
    "httpx",
    "jinja2",
    "keras",
    "lxml",
    "matplotlib",
    "networkx",
    "nltk",
    "numpy",
    "openai",
    "openpyxl",
    "pandas",
    "plotly",
    "polars",
    "pyarrow",
    "pydantic",
    "pymongo",
    "pytest",
    "redis",
    "requests",
    "rich",
    "scipy",
    "seaborn",
    "spacy",
    "sqlalchemy",
    "statsmodels",
    "sympy",
    "tensorflow",
    "torch",
    "tqdm",
];

/// Once of the standard library: until which version, and what to do.
const REMOVED: [(&str, &str); 3] = [
    (
        "distutils",
        "was part of Python until 3.11; add the line `setuptools` to requirements.txt, or choose an older runtime with -r",
    ),
    ("imp", "was part of Python until 3.11; use importlib, or choose an older runtime with -r"),
    ("asyncore", "was part of Python until 3.11; use asyncio, or choose an older runtime with -r"),
];

pub(crate) fn missing_module(facts: &FailureContext, module: &str) -> String {
    let top = module.split('.').next().unwrap_or(module);
    if let Some((_, words)) = REMOVED.iter().find(|(name, _)| *name == top) {
        return format!("the module {} {words}", quoted(top));
    }
    if let Some((_, package)) = PROVIDED_BY.iter().find(|(name, _)| *name == top) {
        return format!(
            "the module {} is not installed; add the line `{package}` to requirements.txt",
            quoted(top)
        );
    }
    if WELL_KNOWN.contains(&top) {
        return format!(
            "the module {} is not installed; add the line `{top}` to requirements.txt",
            quoted(top)
        );
    }
    format!(
        "the module {} is not installed; if it is a file of yours, hand it over: `rgrid run {} {top}.py`, else add its package, \
         probably `{top}`, to requirements.txt",
        quoted(top),
        facts.script
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::diagnosis::facts;

    #[test]
    fn names_that_differ_lead_to_their_package() {
        let said = |module| missing_module(&facts("", &[]), module);
        assert!(said("yaml").ends_with("add the line `PyYAML` to requirements.txt"));
        assert!(said("sklearn.linear_model").contains("`scikit-learn`"));
        assert!(said("requests").contains("the line `requests`"));
        assert!(
            said("helpers").contains("rgrid run script.py helpers.py")
                && said("helpers").contains("probably `helpers`")
        );
        assert!(said("distutils").contains("setuptools"));
    }

    #[test]
    fn the_tables_are_sorted_so_that_a_double_is_seen() {
        assert!(PROVIDED_BY.is_sorted() && WELL_KNOWN.is_sorted());
    }
}
