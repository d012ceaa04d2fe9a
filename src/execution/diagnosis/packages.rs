//! Maps names of Python modules to the packages that provide them.

use crate::execution::diagnosis::{FailureContext, quoted};

/// Modules whose package has another name, according to PyPI: `module=package`.
const PROVIDED_BY: &str = "Crypto=pycryptodome MySQLdb=mysqlclient OpenSSL=pyOpenSSL PIL=Pillow attr=attrs bs4=beautifulsoup4 \
    cairo=pycairo cv2=opencv-python-headless dateutil=python-dateutil discord=discord.py docx=python-docx \
    dotenv=python-dotenv faiss=faiss-cpu fitz=PyMuPDF git=GitPython github=PyGithub gridfs=pymongo \
    igraph=python-igraph jose=python-jose jwt=PyJWT kafka=kafka-python ldap=python-ldap magic=python-magic \
    markdown=Markdown nacl=PyNaCl pkg_resources=setuptools pptx=python-pptx psycopg2=psycopg2-binary \
    serial=pyserial skimage=scikit-image sklearn=scikit-learn slugify=python-slugify \
    telegram=python-telegram-bot usb=pyusb yaml=PyYAML zmq=pyzmq";

/// Modules of well-known packages with the same name.
const WELL_KNOWN: &str = "aiohttp altair anthropic arrow black boto3 celery click django fastapi flask httpx jinja2 keras lxml \
    matplotlib networkx nltk numpy openai openpyxl pandas plotly polars pyarrow pydantic pymongo pytest \
    redis requests rich scipy seaborn spacy sqlalchemy statsmodels sympy tensorflow torch tqdm";

/// Modules that were removed from the standard library, with the replacement.
const REMOVED: [(&str, &str); 3] = [
    ("asyncore", "use asyncio"),
    ("distutils", "add the line `setuptools` to requirements.txt"),
    ("imp", "use importlib"),
];

pub(crate) fn missing_module(context: &FailureContext, module: &str) -> String {
    let top = module.split('.').next().unwrap_or(module);
    let quoted = quoted(top);
    if let Some((_, advice)) = REMOVED.iter().find(|(name, _)| *name == top) {
        return format!(
            "the module {quoted} was removed from Python in 3.12; {advice}, or choose an older runtime with -r"
        );
    }
    let mut renamed = PROVIDED_BY.split(' ').filter_map(|entry| entry.split_once('='));
    let renamed = renamed.find(|(name, _)| *name == top).map(|(_, package)| package);
    match renamed.or_else(|| WELL_KNOWN.split(' ').find(|name| *name == top)) {
        Some(package) => {
            format!("the module {quoted} is not installed; add the line `{package}` to requirements.txt")
        }
        None => format!(
            "the module {quoted} is not installed; if it is your own file, upload it with \
             `rgrid run {} {top}.py`, otherwise add its package, probably `{top}`, to requirements.txt",
            context.script
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::diagnosis::context;

    #[test]
    fn a_missing_module_leads_to_its_package() {
        let cases = [
            ("yaml", "add the line `PyYAML` to requirements.txt"),
            ("sklearn.linear_model", "the line `scikit-learn`"),
            ("requests", "the line `requests`"),
            ("tqdm", "the line `tqdm`"),
            ("helpers", "`rgrid run script.py helpers.py`, otherwise add its package, probably `helpers`"),
            ("distutils", "`setuptools`"),
            ("imp", "removed from Python in 3.12; use importlib"),
        ];
        for (module, expected) in cases {
            let cause = missing_module(&context("", &[]), module);
            assert!(cause.contains(expected), "{cause}");
        }
    }

    #[test]
    fn the_tables_are_sorted_so_that_duplicates_are_visible() {
        assert!(
            PROVIDED_BY.split(' ').is_sorted() && WELL_KNOWN.split(' ').is_sorted() && REMOVED.is_sorted()
        );
    }
}
