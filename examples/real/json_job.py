"""In the manner of the json module's examples: decode lines, encode what is no JSON: docs.python.org/3/library/json.html."""
import datetime
import json

lines = [
    '{"user": "ada", "at": "2025-01-01T10:00:00", "n": 1}',
    '{"user": "bob", "at": "2025-01-02T10:00:00", "n": 2}',
    '{"user": "ada", "at": "2025-01-03T10:00:00", "n": 3}',
    '{"user": "bob", "at": "2025-01-04T10:00:00", "n": 4}',
]
events = [json.loads(line) for line in lines]
for event in events:
    event["at"] = datetime.datetime.fromisoformat(event["at"])
users = sorted({event["user"] for event in events})
print(f"{len(events)} events, {len(users)} users")
with open("events.json", "w") as result:
    json.dump(events, result, default=datetime.datetime.isoformat, indent=2, sort_keys=True)
