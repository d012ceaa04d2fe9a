# /// script
# dependencies = ["rich>=13,<15"]
# ///
"""In the manner of Rich's documentation on tables, trees and progress, without a terminal: rich.readthedocs.io."""
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

console = Console(width=60)
table = Table(title="Releases")
table.add_column("Name", style="cyan")
table.add_column("Year", justify="right")
table.add_row("First", "2001")
table.add_row("Second", "2014")
console.print(table)

tree = Tree("root")
tree.add("branch").add("[green]leaf")
console.print(tree)
