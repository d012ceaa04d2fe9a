"""Serves the discovery API of Kubernetes and no objects, which suffices for `kubectl apply --dry-run=client`.

usage: kubernetes_stub.py        print the address and serve until killed
"""

import http.server
import json

KINDS = {
    "v1": {
        "Namespace": ("namespaces", False),
        "ConfigMap": ("configmaps", True),
        "Service": ("services", True),
        "Secret": ("secrets", True),
    },
    "apps/v1": {
        "Deployment": ("deployments", True),
        "DaemonSet": ("daemonsets", True),
        "StatefulSet": ("statefulsets", True),
    },
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "keda.sh/v1alpha1": {
        "ScaledObject": ("scaledobjects", True),
        "TriggerAuthentication": ("triggerauthentications", True),
    },
}


def groups():
    named = [version.split("/") for version in KINDS if "/" in version]
    return [
        {
            "name": group,
            "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
            "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
        }
        for group, version in named
    ]


def resources(group_version):
    return [
        {
            "name": plural,
            "singularName": kind.lower(),
            "kind": kind,
            "namespaced": namespaced,
            "verbs": ["create", "delete", "get", "list", "patch", "update"],
        }
        for kind, (plural, namespaced) in KINDS[group_version].items()
    ]


class Stub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        group_version = path.removeprefix("/api/" if path.startswith("/api/") else "/apis/")
        if path == "/api":
            self.answer({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups()})
        elif group_version in KINDS:
            self.answer(
                {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources(group_version)}
            )
        else:
            self.answer(
                {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}, 404
            )

    def answer(self, document, status=200):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
