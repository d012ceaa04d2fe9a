"""Prints the medians measured by criterion as a Markdown table.

usage: criterion_table.py target/criterion claim|codec
"""

import json
import pathlib
import sys

root, bench = pathlib.Path(sys.argv[1]), sys.argv[2]
groups = {"claim": ["claim"], "codec": ["a line", "a full piece"]}[bench]
titles = {"claim": "one claim, from call to result", "codec": "frames of the protocol with the init"}


def readable(nanoseconds):
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.2f} {unit}"
    return f"{nanoseconds:.0f} ns"


rows = []
for group in groups:
    # criterion replaces the spaces in directory names.
    for folder in sorted(root.glob(group.replace(" ", "?") + "/*/new"), key=lambda path: path.stat().st_mtime):
        median = json.loads((folder / "estimates.json").read_text())["median"]["point_estimate"]
        name = json.loads((folder / "benchmark.json").read_text())["value_str"] or folder.parent.name
        rows.append((name if bench == "claim" else f"{folder.parent.name} {group}", median))
print(f"{titles[bench]}\n\n| | median | × the first |\n| --- | ---: | ---: |")
for name, median in rows:
    print(f"| {name} | {readable(median)} | {median / rows[0][1]:.2f} |")
print()
