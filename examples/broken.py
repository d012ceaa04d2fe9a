"""Fails on purpose, to show how RGrid reports a failure."""

prices = {"apple": 1.20, "pear": 0.90}
print("looking up the price of a plum")
print(prices["plum"])
