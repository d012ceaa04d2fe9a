# /// script
# dependencies = ["numpy>=1.26,<3"]
# ///
"""In the manner of NumPy's "Absolute basics for beginners" and its linear algebra pages: numpy.org/doc."""
import numpy as np

a = np.arange(12).reshape(3, 4)
print("column means:", a.mean(axis=0))

x = np.linspace(0, 1, 50)
rng = np.random.default_rng(7)
y = 2.0 * x + 1.0 + rng.normal(scale=0.01, size=x.size)
slope, intercept = np.polyfit(x, y, 1)
print(f"fit: {slope:.1f} x + {intercept:.1f}")

values, vectors = np.linalg.eigh(np.array([[2.0, 1.0], [1.0, 2.0]]))
print("eigenvalues:", np.round(values, 6).tolist())
np.save("fit.npy", np.array([slope, intercept]))
