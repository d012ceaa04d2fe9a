# /// script
# dependencies = ["pandas>=2.1,<3"]
# ///
"""In the manner of pandas' "10 minutes to pandas" and its group-by guide: pandas.pydata.org/docs."""
import pandas as pd

orders = pd.DataFrame(
    {
        "day": pd.date_range("2025-01-01", periods=6, freq="D"),
        "shop": ["north", "south"] * 3,
        "amount": [10.0, 20.0, 30.0, 40.0, None, 60.0],
    }
)
orders["amount"] = orders["amount"].fillna(orders["amount"].mean())
by_shop = orders.groupby("shop")["amount"].agg(["count", "sum"])
print(by_shop)
weekly = orders.set_index("day")["amount"].resample("W").sum()
print("weeks:", len(weekly))
by_shop.to_csv("by_shop.csv")
