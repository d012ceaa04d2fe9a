"""Writes standard_library.txt: `python3 standard_library.py PYTHON…`, one interpreter for each version, oldest first.

Python tells the names of its standard library from 3.10 on; for 3.9 the list of 3.10 is tried out, together with
what 3.10 removed.
"""
import subprocess
import sys

REMOVED_IN_3_10 = ["_bootlocale", "formatter", "parser", "symbol"]
TELL = "import sys; print(*sys.stdlib_module_names)"
TRY = "import sys, importlib.util as u; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"


def say(python, *arguments):
    return subprocess.run([python, "-I", "-c", *arguments], check=True, capture_output=True, text=True).stdout.split()


def names(python, newer):
    version = say(python, "import sys; print(sys.version_info.minor)")[0]
    if version != "9":
        return int(version), set(say(python, TELL))
    # Modules of other systems can't be tried out here: those are taken as they are.
    elsewhere = {"msilib", "winreg", "winsound", "msvcrt", "nt", "ntpath", "_winapi", "_winreg", "_msi", "_scproxy"}
    found = set(say(python, TRY, *sorted(newer), *REMOVED_IN_3_10))
    return 9, found | (newer & elsewhere)


versions = {}
newer = set(say(sys.argv[2], TELL))
for python in sys.argv[1:]:
    minor, found = names(python, newer)
    for name in found:
        versions.setdefault(name, []).append(minor)

with open("standard_library.txt", "w") as out:
    out.write("# Names of Python's standard library, and the first and last 3.x that has them.\n")
    out.write("# Made by standard_library.py.\n")
    for name, minors in sorted(versions.items()):
        assert minors == list(range(minors[0], minors[-1] + 1)), name
        out.write(f"{name} {minors[0]} {minors[-1]}\n")
