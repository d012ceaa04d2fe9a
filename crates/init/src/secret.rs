//! What `Debug` shows of contents that must not reach a log.

use std::fmt;

/// Names of an environment, without its values.
pub(crate) struct Names<'a>(pub &'a [(String, String)]);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, _)| (name, format_args!("***")))).finish()
    }
}

/// How much there is, without what it is.
pub(crate) struct Size(pub usize);

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*** ({} bytes)", self.0)
    }
}
