"""In the manner of the csv module's examples: a DictWriter, a DictReader and a sum: docs.python.org/3/library/csv.html."""
import csv
from collections import defaultdict

rows = [("north", 120), ("south", 40), ("west", 75), ("north", 30)]
with open("sales.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, fieldnames=["region", "amount"])
    writer.writeheader()
    writer.writerows({"region": region, "amount": amount} for region, amount in rows)

totals = defaultdict(int)
with open("sales.csv", newline="") as file:
    for row in csv.DictReader(file):
        totals[row["region"]] += int(row["amount"])
print(f"{len(totals)} regions, largest: {max(totals, key=totals.get)}")
