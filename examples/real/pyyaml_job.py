# /// script
# dependencies = ["PyYAML>=6,<7"]
# ///
"""Modelled on PyYAML's documentation (pyyaml.org/wiki): load, change, dump, and an error with its position."""

import yaml

text = """
services:
  web: &defaults {image: web:1, replicas: 2}
  worker:
    <<: *defaults
    replicas: 4
"""
document = yaml.safe_load(text)
print("replicas:", {name: service["replicas"] for name, service in document["services"].items()})
with open("services.yaml", "w") as result:
    yaml.safe_dump(document, result, sort_keys=True)
try:
    yaml.safe_load("a: [1, 2")
except yaml.YAMLError as error:
    print("told: line", error.problem_mark.line + 1)
