"""The acceptance stories for `scripts/report`, each with its tests and commands.

A command is (line of bash, expected exit code, patterns that its output must contain).
"""

# The modules of tests/it to run.
TEST_FILES = [
    "acceptance::stories::",
    "acceptance::main_job::",
    "api::output::",
    "operations::migrations::",
    "sandbox::runtimes::",
    "environments::dependencies::",
    "environments::environments::",
    "queue::notify::",
    "operations::drain::",
    "queue::many_daemons::",
    "sandbox::images::",
    "api::bad_input::",
]

HELLO = 'print("Hello from RGrid!")\n'
SLOW = 'import time\nprint("first")\ntime.sleep(4)\nprint("second")\n'
FLOOD = 'import sys\nsys.stdout.write("x" * 3250586)\n'
IMPORTS = 'import os\ndef f():\n    try:\n        import yaml\n    except ImportError:\n        pass\nprint("fine")\n'
INLINE = '# /// script\n# dependencies = ["six==1.17.0"]\n# ///\nimport six; print(six.__version__)\n'
COPY = (
    'import sys\ntext = open(sys.argv[1]).read()\nopen(sys.argv[2], "w").write(text.upper())\n'
    'print("read", sys.argv[1], "wrote", sys.argv[2])\n'
)
ENV = 'import os\nprint([os.environ.get(k) for k in "ABC"])\n'

STORIES = [
    {
        "id": "NEW-1",
        "title": "worker daemon",
        "tests": [
            r"::new_1_",
            r"^operations::drain::",
            r"^queue::many_daemons::",
            r"^queue::notify::",
            r"status_goes_from_queued",
        ],
        "files": {"hello.py": HELLO},
        "commands": [
            ("$ROOT/scripts/daemon status", 0, ["rgridd is ready"]),
            (
                "rgrid run -q hello.py >id; rgrid wait $(cat id); grep $(cat id) $RGRID_STATE/rgridd.log",
                0,
                ['"claimed".*"attempt":1.*"execution":"exec_.*"worker":"report"', '"running"', '"completed"'],
            ),
            (
                "rgridd settings 2>/dev/null | grep -E '^(poll_interval|lease|drain_timeout) '",
                0,
                ['poll_interval = "5s"'],
            ),
        ],
    },
    {
        "id": "NEW-2",
        "title": "output is kept",
        "tests": [r"::new_2_", r"^api::output::"],
        "files": {"flood.py": FLOOD, "silent.py": "pass\n"},
        "commands": [
            (
                "rgrid run -q flood.py >id; rgrid wait $(cat id); rgrid logs --stdout $(cat id) >out; stat -c '%s bytes' out",
                0,
                [r"warning: stdout was cut at 100 KiB \(of 3.1 MiB\)"],
            ),
            (
                "rgrid run -q silent.py >id; rgrid wait $(cat id); curl -s $RGRID_API_URL/api/v1/executions/$(cat id) | "
                'python3 -c \'import json,sys; e=json.load(sys.stdin); print(repr(e["stdout"]), repr(e["stderr"]), e["output_truncated"])\'',
                0,
                ["^'' '' False$"],
            ),
        ],
    },
    {
        "id": "8-1",
        "title": "status",
        "tests": [r"::story_8_1_", r"status_goes_from_queued"],
        "files": {"hello.py": HELLO, "slow.py": SLOW},
        "commands": [
            (
                "rgrid run -q hello.py >id; rgrid wait $(cat id); rgrid status $(cat id)",
                0,
                [r"^Status: completed$", r"^Runtime: python:3.11$", r"^Duration: \S+$", r"^Exit Code: 0$"],
            ),
            (
                "rgrid run -q slow.py >id; until rgrid status $(cat id) | grep -q running; do sleep 0.1; done; "
                "rgrid status $(cat id); rgrid cancel $(cat id)",
                0,
                [r"^Status: running$", r"^Started: "],
            ),
            ("rgrid status --json $(head -c 20 id)", 0, [r'"status": "']),
            ("rgrid status exec_zzz", 3, ["no such execution: exec_zzz"]),
            ("rgrid status exec_0", 1, ["executions begin with it"]),
        ],
    },
    {
        "id": "8-2",
        "title": "logs",
        "tests": [r"::story_8_2_", r"logs_show_what_a_running", r"exits_with_3"],
        "files": {"hello.py": HELLO, "slow.py": SLOW},
        "commands": [
            (
                "rgrid run -q hello.py >id; rgrid wait $(cat id); rgrid logs $(cat id)",
                0,
                [r"=== STDOUT ===\nHello from RGrid!\n\n=== STDERR ===\n\(empty\)\n\nExit Code: 0\n"],
            ),
            (
                "rgrid run -q slow.py >id; until rgrid logs --stdout $(cat id) | grep -q first; do sleep 0.1; done; rgrid logs $(cat id)",
                0,
                [r"=== STDOUT ===\nfirst\n\n", "it is still running"],
            ),
            ("rgrid logs -f $(cat id)", 0, [r"^first\nsecond\n$"]),
        ],
    },
    {
        "id": "2-3",
        "title": "runtimes",
        "tests": [r"::story_2_3_", r"^sandbox::runtimes::", r"^sandbox::images::", r"the_runtimes_are_listed"],
        "files": {
            "v.py": "import sys; print(sys.version)\n",
            "a.js": "console.log(process.version)\n",
            "a.rb": "puts RUBY_VERSION\n",
            "a.sh": "echo $BASH_VERSION\n",
        },
        "commands": [
            (
                "rgrid runtimes list",
                0,
                [r"^python:3.9-slim\npython:3.10-slim\npython:3.11-slim \(default\)\npython:3.12-slim\n"],
            ),
            (
                "for name in python:3.9 3.10 python python:3.12-slim; do rgrid run -w -q -r $name v.py; done",
                0,
                [r"^3\.9\.", r"^3\.10\.", r"^3\.11\.", r"^3\.12\."],
            ),
            ("for script in a.js a.rb a.sh; do rgrid run -w -q $script; done", 0, [r"^v20\.", r"^3\.3\.", r"^5\."]),
            ("rgrid run -r python:3.13 v.py", 2, [r"did you mean python:3\.12\? there are python:3\.9, "]),
        ],
    },
    {
        "id": "2-4",
        "title": "dependencies",
        "tests": [r"::story_2_4_", r"^environments::dependencies::", r"^environments::environments::"],
        "files": {
            "deps/requirements.txt": "six==1.17.0\n",
            "deps/six_job.py": "import six; print(six.__version__)\n",
            "inline.py": INLINE,
            "imports.py": IMPORTS,
            "bad.txt": "rgrid-no-such-package-exists==1\n",
        },
        "commands": [
            ("rgrid run -w deps/six_job.py", 0, ["Successfully installed six-1.17.0", r"^1\.17\.0$"]),
            ("rgrid run -w deps/six_job.py", 0, [r"\A(?!.*Successfully)[\s\S]*^1\.17\.0$"]),
            ("rgrid run -w -q inline.py", 0, [r"^1\.17\.0$"]),
            ("rgrid run -w imports.py", 0, ["hint: imports.py imports yaml; add PyYAML to requirements.txt", "^fine$"]),
            (
                "rgrid run -w --requirements bad.txt imports.py",
                125,
                ["No matching distribution found for rgrid-no-such-package"],
            ),
        ],
    },
    {
        "id": "2-5",
        "title": "files",
        "tests": [r"::story_2_5_", r"a_script_with_a_file_and_a_variable"],
        "files": {"copy.py": COPY, "in/data.txt": "hello\n", "other/data.txt": "other\n"},
        "commands": [
            (
                "rgrid run -w -q -o results copy.py in/data.txt output.txt && cat results/output.txt",
                0,
                ["^read data.txt wrote output.txt$", "^HELLO$"],
            ),
            (
                "rgrid run copy.py in/data.txt other/data.txt",
                2,
                ['two files have the name "data.txt": in/data.txt and other/data.txt'],
            ),
            ("rgrid run copy.py in", 2, ["in is a folder; only files are uploaded"]),
        ],
    },
    {
        "id": "2-7",
        "title": "environment variables",
        "tests": [r"::story_2_7_"],
        "files": {"env.py": ENV, "my.env": "# mine\nA=file\nC=\n"},
        "commands": [
            ("rgrid run -w -q --env-file my.env -e A=x=y -e B=two env.py", 0, [r"^\['x=y', 'two', ''\]$"]),
            ("rgrid run -e 1X=2 env.py", 2, ['"1X" is not a valid environment variable name: .* as in API_KEY']),
            ("rgrid run -e RGRID_UNSET env.py", 2, ["use RGRID_UNSET=value, or RGRID_UNSET= for an empty value"]),
        ],
    },
    {
        "id": "NEW-3",
        "title": "migrations",
        "tests": [r"::new_3_", r"^operations::migrations::"],
        "commands": [
            ("$ROOT/scripts/daemon migrate status", 0, ["applied"]),
            ("$ROOT/scripts/daemon migrate up", 0, []),
        ],
    },
    {
        "id": "NEW-4",
        "title": "errors",
        "tests": [
            r"::new_4_",
            r"a_timeout_ends",
            r"exceeding_the_memory_limit",
            r"^api::bad_input::",
            r"an_image_that_cannot_be_had",
        ],
        "files": {
            "bad.py": "raise SystemExit(3)\n",
            "sleeps.py": "import time; time.sleep(60)\n",
            "large.py": "x = bytearray(400 << 20)\n",
        },
        "commands": [
            ("rgrid run -w bad.py", 3, ["error: the script ended with exit code 3", "hint: "]),
            (
                "rgrid run -w --timeout 1s sleeps.py",
                124,
                ["error: the script was still running after 1s", "hint: .*--timeout 2s"],
            ),
            ("rgrid run -w --memory 64m large.py", 125, ["exceeded its memory limit of 64 MiB", "hint: .*--memory"]),
            ("rgrid run --timeout 11m bad.py", 2, ["--timeout: must be above 0 and at most 600 s"]),
            (
                "rgrid --api-url http://127.0.0.1:1 list",
                5,
                ["cannot connect to http://127.0.0.1:1: connection refused", "hint: "],
            ),
            (
                "rgrid --api-url $RGRID_API_URL/nowhere list",
                5,
                ["the RGrid server at .*/nowhere does not have this API"],
            ),
        ],
    },
    {
        "id": "All",
        "title": "the tour",
        "tests": [r"^acceptance::stories::tour::", r"^acceptance::stories::steady::", r"^acceptance::stories::real::"],
        "commands": [("$ROOT/examples/tour.sh", 0, ["queued → running → completed", "That was it, in"])],
    },
]

# A script in examples/real, text that it prints, and a file that it writes.
REAL = [
    ("requests_job.py", "told: 404", None),
    ("pyyaml_job.py", "told: line 1", "services.yaml"),
]
