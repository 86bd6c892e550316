"""A project's batch job on Spark: the rows of `ml score`, bit for bit, on as many machines.

spark-submit --archives model.zip#model --py-files code.zip score_on_spark.py PACKAGE IN OUT

PACKAGE is the name of the project's package, code.zip the wheel that `uv build --wheel` makes of
it, by a name that Spark takes, and model.zip what stands in the folder of a version, such as
models/v1. Python of the workers needs what the project needs to serve (`dependencies` of its
pyproject.toml), as its image has it. IN are Parquet files, whose rows are named by keys of the
contract; OUT is a folder of Parquet files.
"""

import argparse
import os
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

MODEL = "model"  # of --archives
BATCH_ROWS = "65536"  # of one call


def opened(package: str) -> Any:
    """Open the version; it is verified, golden rows too."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    folder = Path(SparkFiles.getRootDirectory()) / MODEL
    return import_module(f"{package}.engine.model.scorer").Scorer.load(folder, threads=1)


def scored(package: str, model: Any, rows: pl.DataFrame) -> pa.Table:
    """Return the keys of rows with what `ml score` answers, in its order of columns."""
    batch = import_module(f"{package}.engine.serving.batch")
    keys = [column.name for column in model.keys.values() if column.name in rows.columns]
    outputs = [name for output in model.outputs for name in batch.columns_of(output)]
    names = [*dict.fromkeys(keys), *outputs, "model_version", "problem", "warning"]
    return batch.score(model, rows).select(names).to_arrow(compat_level=pl.CompatLevel.oldest())


def main() -> None:
    """Score IN into OUT."""
    parser = argparse.ArgumentParser()
    for name in ("package", "source", "target"):
        parser.add_argument(name)
    given = parser.parse_args()
    package = given.package
    spark = (
        SparkSession.builder.appName(f"{package}-score")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", BATCH_ROWS)
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    rows = spark.read.parquet(given.source)

    def parts(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = opened(package)  # once for each part of the table
        for batch in batches:
            table = pl.DataFrame(pa.Table.from_batches([batch]))
            yield from scored(package, model, table).to_batches()

    schema = scored(package, opened(package), pl.DataFrame(rows.limit(1).toArrow())).schema
    answers = rows.mapInArrow(parts, from_arrow_schema(schema))
    answers.write.mode("overwrite").parquet(given.target)
    spark.stop()


if __name__ == "__main__":
    main()
