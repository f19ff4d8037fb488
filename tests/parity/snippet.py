"""The program of docs/page.md that reads a table, run as it stands there: what it prints is what the table's page says.

    python tests/parity/snippet.py        (from the repository's root; needs pandas, polars and pyarrow)
"""

import contextlib
import io
import re
import pathlib

[program] = re.findall(r"```python\n(.*?)```", pathlib.Path("docs/page.md").read_text(), re.DOTALL)
printed = io.StringIO()
names = {}
with contextlib.redirect_stdout(printed):
    exec(program, names)
print(printed.getvalue())

rows = pathlib.Path(names["table"]).with_name("table.md").read_text().splitlines()
head, cells = rows[0].split(" | "), [row.strip("| ").split(" | ") for row in rows[2:8]]
column = next(i for i, heading in enumerate(head) if heading.startswith("FID"))
expected = {tuple(row[:3]): float(row[column].split()[0]) for row in cells}
by_polars = {row[:3]: round(row[3], 2) for row in names["of_polars"].rows()}
by_pandas = {cell: round(value, 2) for cell, value in names["of_pandas"]["fid"].items()}
assert by_polars == by_pandas == expected, (by_polars, by_pandas, expected)
print("as the page has it")
