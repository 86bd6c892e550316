# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["copier>=9.19.1,<10"]
# ///
"""Batch scoring at 1 and 5 million rows against reading plus the bare model, with peak memory.

Rows per CPU second: other work on the machine does not count.
"""

import tempfile
from pathlib import Path

from common import call, render

MAKE = """
import sys, polars as pl
base = pl.read_parquet("data/sample/dataset.parquet")
rows = int(sys.argv[1])
times = rows // base.height + 1
pl.concat([base] * times).head(rows).write_parquet(f"{rows}.parquet", row_group_size=100_000)
"""
# The floor: read Parquet in batches, and run the bare model on a matrix that is there already.
FLOOR = """
import os, sys, numpy as np, onnxruntime as ort, polars as pl
from churn_model.engine.features import encode
from churn_model.engine.model import scorer
from churn_model.engine.model.scorer import FeatureSpec
from churn_model.engine import storage
from pathlib import Path
spec = storage.read_json(Path("models/v1/features.json"), FeatureSpec)
x = encode(spec, pl.read_parquet("data/processed/test.parquet"))
x = np.resize(x, (65536, x.shape[1]))
options = ort.SessionOptions()
options.inter_op_num_threads = options.intra_op_num_threads = 1  # waiting threads spin
session = ort.InferenceSession("models/v1/model_encoded.onnx", options)
start = sum(os.times()[:4])
rows = 0
for batch in pl.scan_parquet(sys.argv[1]).collect_batches(chunk_size=65536):
    session.run(None, {"x": x[: batch.height]})
    rows += batch.height
print(rows / (sum(os.times()[:4]) - start))
"""
OURS = """
import os, resource, sys
from pathlib import Path
from churn_model.engine.serving import batch
from churn_model.engine.settings import find_project
start = sum(os.times()[:4])
report = batch.run(find_project(), Path(sys.argv[1]), Path(sys.argv[2]), force=True)
seconds = sum(os.times()[:4]) - start
print(report["rows"] / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name) / "project"
        render(project)
        call("uv", "sync", "-q", cwd=project)
        call("uv", "run", "ml", "run", cwd=project)
        python = project / ".venv/bin/python"
        print("| rows | floor, rows/CPU s | ml score, rows/CPU s | ratio | peak MB |")
        print("|---|---|---|---|---|")
        for rows in (1_000_000, 5_000_000):
            call(python, "-c", MAKE, str(rows), cwd=project)
            source = f"{rows}.parquet"
            pairs = []
            for _ in range(3):
                floor = float(call(python, "-c", FLOOR, source, cwd=project)[1])
                line = call(python, "-c", OURS, source, "out.parquet", cwd=project)[1].split()
                pairs.append((float(line[0]) / floor, floor, float(line[0]), float(line[1])))
            ratio, floor, ours, peak = sorted(pairs)[1]
            print(f"| {rows:,} | {floor:,.0f} | {ours:,.0f} | {ratio:.2f} | {peak:,.0f} |")


main()
