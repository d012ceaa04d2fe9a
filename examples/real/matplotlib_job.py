# /// script
# dependencies = ["matplotlib>=3.8,<4"]
# ///
"""In the manner of Matplotlib's quick start guide and its bar chart gallery; writes a PNG: matplotlib.org/stable."""
import math
import pathlib

import matplotlib

matplotlib.use("Agg")  # no screen
import matplotlib.pyplot as plt

x = [i / 20 for i in range(100)]
figure, (upper, lower) = plt.subplots(2, 1, layout="constrained")
upper.plot(x, [math.sin(v) for v in x], label="sin")
upper.plot(x, [math.cos(v) for v in x], label="cos", linestyle="--")
upper.set_xlabel("x")
upper.legend()
lower.bar(["a", "b", "c"], [3, 5, 2])
pathlib.Path("plots").mkdir()
figure.savefig("plots/curves.png", dpi=80)
with open("plots/curves.png", "rb") as png:
    print("a PNG:", png.read(8) == b"\x89PNG\r\n\x1a\n")
