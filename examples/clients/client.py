#!/usr/bin/env python3
"""A client in one file that needs only Python's standard library. Copy and adapt it.

usage: RGRID_API_URL=http://127.0.0.1:8080 RGRID_API_KEY=rg_… python3 client.py SCRIPT [FILE]
"""

import base64
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request
import uuid

API = os.environ.get("RGRID_API_URL", "http://127.0.0.1:8080") + "/api/v1"
RETRY_SECONDS = 60  # how long to retry while the server is unavailable


class RGridError(Exception):
    """The server's error (RFC 9457), or the reason why it cannot be reached."""


def call(method, path, body=None, headers=None):
    """Returns the response body. Retries while the server is unavailable or asks to wait (429, 503)."""
    headers = {"content-type": "application/json", **(headers or {})}
    if key := os.environ.get("RGRID_API_KEY"):
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(API + path, data, headers, method=method), timeout=60
            ) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            problem, wait = json.load(error), error.headers.get("retry-after")
            if wait is None or time.monotonic() > deadline:
                fields = "".join(f"\n  {one['field']} {one['message']}" for one in problem.get("errors", []))
                raise RGridError(problem["detail"] + fields) from None
            time.sleep(float(wait))
        except OSError as error:
            if time.monotonic() > deadline:
                raise RGridError(f"{API} can't be reached: {error}") from None
            time.sleep(1)


def submit(script, files=(), **more):
    """Submits a script and returns the ID. `more` are fields of a submission, such as args, env, requirements."""
    script = pathlib.Path(script)
    job = {
        "script": {"name": script.name, "content": script.read_text()},
        **more,
        "files": [
            {"name": path.name, "content_base64": base64.b64encode(path.read_bytes()).decode()}
            for path in map(pathlib.Path, files)
        ],
    }
    # The key makes it safe to repeat the call.
    return json.loads(call("POST", "/executions", job, {"idempotency-key": str(uuid.uuid4())}))["id"]


def wait(execution):
    """Waits until the execution has ended and returns it."""
    while True:
        seen = json.loads(call("GET", f"/executions/{execution}?wait=30"))
        if seen.get("completed_at"):
            return seen


def download(execution, name):
    return call("GET", f"/executions/{execution}/outputs/{urllib.request.quote(name)}")


def main(script, *files):
    ended = wait(submit(script, files, args=[pathlib.Path(file).name for file in files]))
    sys.stdout.write(ended["stdout"])
    sys.stderr.write(ended["stderr"])
    for output in ended["outputs"]:
        pathlib.Path(pathlib.PurePosixPath(output["name"]).name).write_bytes(download(ended["id"], output["name"]))
    if ended["status"] != "completed":
        sys.exit(f"error: {ended['execution_error']}")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except RGridError as error:
        sys.exit(f"error: {error}")
