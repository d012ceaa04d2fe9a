# /// script
# dependencies = ["requests>=2.31,<3"]
# ///
"""Modelled on the quickstart of Requests (requests.readthedocs.io), with a server that the script starts itself."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


class Echo(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path, "json": json.loads(body)}).encode())

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"

with requests.Session() as session:
    session.trust_env = False  # the server is local, so no proxy is needed
    answer = session.post(f"{base}/echo", params={"q": "a b"}, json={"n": 1}, timeout=10)
    answer.raise_for_status()
    print("echoed:", answer.json())
    missing = session.get(f"{base}/missing", timeout=10)
    try:
        missing.raise_for_status()
    except requests.HTTPError as error:
        print("told:", error.response.status_code)
server.shutdown()
