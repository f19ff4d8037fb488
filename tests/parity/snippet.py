"""The README's program that reads a table, run as it stands there: what it prints is what the table's page says.

    python tests/parity/snippet.py        (from the repository's root; needs pandas, polars and pyarrow)
"""

import contextlib
import io
import re
import pathlib

[program] = re.findall(r"```python\n(.*?)```", pathlib.Path("README.md").read_text(), re.DOTALL)
printed = io.StringIO()
names = {}
with contextlib.redirect_stdout(printed):
    exec(program, names)
print(printed.getvalue())

rows = pathlib.Path(names["table"]).with_name("table.md").read_text().splitlines()
head, cells = rows[0].split(" | "), [row.strip("| ").split(" | ") for row in rows[2:8]]
column = next(i for i, heading in enumerate(head) if heading.startswith("FID"))
expected = sorted((float(row[column].split()[0]), row[:3]) for row in cells)
pandas = names["pd"].read_parquet(names["table"])
means = pandas[pandas.metric == "fid"].groupby(["prediction", "objective", "variance"])["value"].mean().sort_values()
assert [(round(value, 2), list(cell)) for cell, value in means.items()] == expected, (means, expected)
assert f"{expected[0][0]:.2f}" in printed.getvalue(), "the best cell's FID is printed"
print("as the page has it")
