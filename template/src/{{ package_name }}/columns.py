"""Columns that the source lacks: a function of yours over a Polars frame, run once, at `ml ingest`.

It is for what no operator of features.py can do. What it costs: nothing computes these columns for
`ml score`, `ml monitor` and the service, so that each caller computes and sends them.
"""

import polars as pl


def add(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the source, in their order, with columns added.

    Values are as the source has them: of a CSV or JSON, texts; a gap is null. The contract needs a
    column for each that is added: `ml contract infer` drafts it.
    """
    return frame
