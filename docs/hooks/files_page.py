"""The tables of the Parquet columns, put into files.md from `kpod.schemas` whenever the site is built."""

import re

import pyarrow as pa

from kpod import schemas

MARK = re.compile(r"<!-- columns of (\w+) -->")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace each mark by the table of the schema that it names."""
    return MARK.sub(lambda match: table(getattr(schemas, match[1])), markdown)


def table(schema: pa.Schema) -> str:
    """The columns of a schema as a Markdown table."""
    rows = [f"| `{field.name}` | {_type(field.type)} | {'yes' if field.nullable else ''} |" for field in schema]
    return "\n".join(["| column | type | may be null |", "|---|---|---|", *rows])


def _type(kind: pa.DataType) -> str:
    return f"list of {_type(kind.value_type)}" if pa.types.is_list(kind) else str(kind)
