"""Summarizes a table of sales: `rgrid run examples/sales.py examples/sales.csv`."""

import csv
import os
import sys
import time
from collections import defaultdict

totals = defaultdict(float)
with open(sys.argv[1], newline="") as table:
    for row in csv.DictReader(table):
        totals[row["region"]] += float(row["amount"])

currency = os.environ.get("CURRENCY", "EUR")
print(f"{len(totals)} regions in {sys.argv[1]}")
time.sleep(1)  # so that the status `running` is visible

with open("totals.csv", "w", newline="") as result:
    out = csv.writer(result)
    out.writerow(["region", f"total ({currency})"])
    for region in sorted(totals):
        out.writerow([region, f"{totals[region]:.2f}"])
        print(f"{region:<8}{totals[region]:>10.2f} {currency}")
print("wrote totals.csv", file=sys.stderr)
