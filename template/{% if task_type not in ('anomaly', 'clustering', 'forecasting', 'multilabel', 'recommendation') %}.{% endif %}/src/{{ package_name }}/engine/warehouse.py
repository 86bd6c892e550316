"""A model as one query of SQL: what a warehouse can score alone, held against the champion.

Only linear models and single trees of plain columns are written so. They have no calibration and no
threshold. Before the file is written the query answers the test rows, and rows that are worse.
"""

from contextlib import closing
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import metrics, privacy, progress, resampling, storage, task
from .data import target as targets
from .data.contract import Column, Contract
from .data.kept import taken
from .errors import ProjectError
from .features import encode
from .formats import number
from .history import matrix_for
from .model import again, registry
from .model.fitting import FIT_ROWS, Fitted, drawn
from .model.plain import Forest, Linear, Link, Matrix, Model
from .model.scorer import FeatureSpec, NumericFeature, Scorer
from .settings import Project

REPORT, FILE = "reports/warehouse.json", "reports/model.sql"
MODELS = ("logistic_regression", "ridge", "decision_tree")  # as far as the task has them
TOLERANCE = 1e-9  # of the unit of a score
Floats = NDArray[np.float64]
PARTS = {"weekday": "ISODOW"}  # of a date, where SQL has another word than we


class Query(NamedTuple):
    """A query with the names of its numbers: one, or one for each level."""

    text: str
    numbers: list[str]


def run(project: Project, training: Any, table: str = "") -> dict[str, Any]:
    """Write reports/model.sql, of the model with the best metric, and reports/warehouse.json.

    The best is chosen by rows that it was not fitted to, and the test rows are asked once, of it.
    `training` is the module that fits models, `table` what the query reads. ProjectError when the
    features are none of SQL, or when the query answers otherwise than the model.
    """
    used = project.facts.note()
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder, threads=project.config.training.threads)
    frame, agreed, parts = again.prepared(project, scorer, training)
    seed = project.config.training.seed
    rows = taken(frame, parts.development)
    # What features.py declares is made by the graph of a bundle, and no query knows it.
    data = training.development_data(project, rows, agreed)._replace(recipe=None)
    check(data.spec, agreed, data.levels)
    primary, level = scorer.manifest.primary_metric, task.level(scorer.manifest.decision)
    sign, among = metrics.sign(primary), task.compared(level)
    means: dict[str, float] = {}
    for model in (name for name in MODELS if name in training.models.FITTERS):
        checked = training.cross_validate(model, data, parts, project, {})
        means[model] = float(np.mean(checked.scores))
    best = max(means, key=lambda model: sign * means[model])
    progress.tell(f"fitting {best}")
    some = data.rows(drawn(np.arange(len(data.y)), FIT_ROWS, seed))
    fitted = training.fit(project, best, some, {})
    test = again.test_rows(project, scorer, agreed)
    y, x = targets.values(test, agreed.target), encode(data.spec, test)
    champion = scorer.predict(matrix_for(scorer, test))[scorer.score]
    asked = query(fitted.model, data.spec, agreed, table or agreed.name, data.levels)
    hard = worse(test, data.spec)
    engine, apart = prove(asked, agreed, table, hard, said(fitted, encode(data.spec, hard)))
    draws = resampling.resamples(project.config.evaluation.bootstrap, len(y))
    of_sql = fitted.predict(x)
    score = metrics.score(primary, y, of_sql, among)
    gain = resampling.paired_gain(y, champion, of_sql, primary, among, draws=draws, seed=seed)
    least = float(training.decision.needed_gain(project, score))
    report = {
        "version": scorer.version,
        "run": scorer.manifest.run,
        "made_up": registry.made_up(folder),
        "plan": used,
        "model": best,
        "table": table or agreed.name,
        "primary_metric": primary,
        "cv": means,
        "metrics": {best: score},
        "champion": metrics.score(primary, y, champion, among),
        "gain": gain._asdict(),
        "min_gain": least,
        "suffices": bool(gain.value < least),
        "proof": {"by": engine, "rows": hard.height, "worst": apart, "bytes": len(asked.text)},
    }
    storage.write_text(project.path(FILE), asked.text)
    storage.write_json(project.path(REPORT), report)
    return report


def check(spec: FeatureSpec, agreed: Contract, levels: tuple[str, ...] = ()) -> None:
    """ProjectError for features that no query makes of a row alone, and for personal levels.

    A query names each level of a category, and each of a target of several classes.
    """
    texts: list[Any] = [*spec.texts, *spec.words]
    others = {
        "look back": [feature.name for feature in spec.history],
        "are made of texts or images": [f.name for f in texts],
    }
    for why, names in others.items():
        if names:
            raise ProjectError(
                f"features that {why} cannot be written in SQL ({', '.join(names)}): score with "
                "the bundle, or give these columns the role excluded and train again"
            )
    named = [agreed.column(item.column) for item in spec.categorical]
    if told := sorted(privacy.hidden_names([*named, *([agreed.target] if levels else [])])):
        raise ProjectError(
            f"{FILE} would hold values of personal columns ({', '.join(told)}): score with the "
            "bundle, or give those that are features the role excluded and train again"
        )


def query(
    model: Model, spec: FeatureSpec, agreed: Contract, table: str, levels: tuple[str, ...] = ()
) -> Query:
    """Return the model as a query that reads `table` and gives the keys and its numbers."""
    features = [_number(item, agreed.column(item.column)) for item in spec.numeric]
    features += map(_code, spec.categorical)
    if isinstance(model, Linear):
        sums = _linear(model, len(spec.numeric))
    elif isinstance(model, Forest) and not model.tables and len(set(model.tree.tolist())) == 1:
        sums = [_tree(model, output) for output in range(model.outputs)]
    else:
        raise ProjectError("only a linear model or a single tree is written as SQL")
    names = [f"p_{level}" for level in levels] if len(sums) > 1 else ["prediction"]
    keys = [_name(column.name) for column in agreed.keys]
    offset, scale = _literal(model.link.offset), _literal(model.link.scale)
    totals = [f"({offset} + {scale} * s{n})" for n in range(len(sums))]
    numbers = zip(_linked(model.link, totals), names, strict=True)
    levels_of = (
        [f"{one} AS {_name(name)}" for one, name in numbers],
        [f"{one} AS s{n}" for n, one in enumerate(sums)],
        [f"{one} AS f{n}" for n, one in enumerate(features)],
    )
    last, middle, first = (",\n".join(f"  {one}" for one in [*keys, *s]) for s in levels_of)
    text = (
        f"SELECT\n{last}\nFROM (\nSELECT\n{middle}\nFROM (\nSELECT\n{first}\n"
        f"FROM {_name(table)}\n) AS features\n) AS sums"
    )
    return Query(text + "\n", names)


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _literal(value: float) -> str:
    """Write a number so that engines read a double: as decimals they are slow, and rounded."""
    written = f"{float(value):.16e}"
    return f"({written})" if written.startswith("-") else written


def _number(item: NumericFeature, column: Column) -> str:
    """Return a number as the model has it: rounded to four bytes, NULL where it is missing."""
    name = _name(item.column)
    if item.part == "elapsed":
        end = _name(item.until) if item.until else f"'{item.reference_moment.isoformat(' ')}'"
        passed = f"CAST({end} AS TIMESTAMP) - CAST({name} AS TIMESTAMP)"
        value = f"EXTRACT(EPOCH FROM ({passed})) / 86400"
    elif item.part != "value":
        value = f"EXTRACT({PARTS.get(item.part, item.part.upper())} FROM {name})"
    elif column.kind == "boolean":
        value = f"CASE WHEN {name} THEN 1 WHEN NOT {name} THEN 0 END"
    else:
        value = name
    return f"CAST(CAST({value} AS REAL) AS DOUBLE PRECISION)"


def _code(item: Any) -> str:
    """Return the code of a level; what is missing is the empty level, what is unseen the last."""
    known = " ".join(f"WHEN {_text(one)} THEN {code}" for code, one in enumerate(item.levels))
    other = len(item.levels)
    asked = f"COALESCE(CAST({_name(item.column)} AS VARCHAR), '')"
    return f"CASE {asked} {known} ELSE {other} END" if known else str(other)


def _linear(model: Linear, width: int) -> list[str]:
    """Return a sum for each output of a linear model."""
    start = np.atleast_1d(model.intercept)
    weights = model.weight.reshape(width, len(start))
    gaps = model.missing_weight.reshape(width, len(start))
    found = []
    for output in range(len(start)):
        terms = [_literal(start[output])]
        for n in range(width):
            if weight := float(weights[n, output]):
                terms.append(f"{_literal(weight)} * COALESCE(f{n}, {_literal(model.fill[n])})")
            if gap := float(gaps[n, output]):
                terms.append(f"CASE WHEN f{n} IS NULL THEN {_literal(gap)} ELSE 0 END")
        for n, table in enumerate(model.tables):
            values = table.reshape(len(table), len(start))[:, output]
            cases = [f"WHEN {code} THEN {_literal(v)}" for code, v in enumerate(values[:-1])]
            known, last = " ".join(cases), _literal(values[-1])
            terms.append(f"CASE f{width + n} {known} ELSE {last} END" if known else last)
        found.append("\n    + ".join(terms))
    return found


def _tree(model: Forest, output: int) -> str:
    """Return a tree as nested cases: what is missing goes where the tree sends it."""
    place = {int(node): n for n, node in enumerate(model.node)}
    pairs = zip(model.leaves.place, model.leaves.output, model.leaves.weight, strict=True)
    weights = {int(at): float(weight) for at, to, weight in pairs if to == output}

    def below(node: int) -> str:
        at = place[node]
        if model.mode[at] == "LEAF":
            return _literal(weights.get(at, 0.0))
        name, value = f"f{model.feature[at]}", float(model.value[at])
        asked = f"{name} <= {_literal(value)}" if np.isfinite(value) else f"{name} IS NOT NULL"
        missing = f" OR {name} IS NULL" if model.missing_true[at] else ""
        yes, no = below(int(model.true[at])), below(int(model.false[at]))
        return f"CASE WHEN {asked}{missing}\n    THEN {yes}\n    ELSE {no} END"

    return below(int(model.node[0]))


def _linked(link: Link, totals: list[str]) -> list[str]:
    """Return predictions of sums, without overflow."""
    if link.kind == "logit":
        held = [f"LEAST(GREATEST({total}, -7e2), 7e2)" for total in totals]
        return [f"1e0 / (1e0 + EXP(-{one}))" for one in held]
    if link.kind == "softmax":
        most = f"GREATEST({', '.join(totals)})"
        powers = [f"EXP({total} - {most})" for total in totals]
        return [f"{one} / ({' + '.join(powers)})" for one in powers]
    if link.kind == "log":
        held = [f"GREATEST({total}, {_literal(link.low)})" for total in totals]
        held = [f"LEAST({one}, {_literal(link.high)})" for one in held]
        return [f"EXP({one}) - {_literal(link.shift)}" for one in held]
    return totals


def said(fitted: Fitted, x: Matrix) -> Floats:
    """Return what a bundle would answer: in its trees a leaf has four bytes, in libraries eight."""
    tree = fitted.model
    if not isinstance(tree, Forest):
        return np.asarray(fitted.predict(x))
    place = {int(node): n for n, node in enumerate(tree.node)}
    sums = np.zeros((len(tree.node), tree.outputs))
    sums[tree.leaves.place, tree.leaves.output] = tree.leaves.weight
    found = np.empty((len(x), tree.outputs))
    for row, values in enumerate(x):
        at = 0
        while tree.mode[at] != "LEAF":
            value = values[tree.feature[at]]
            left = tree.missing_true[at] if np.isnan(value) else value <= tree.value[at]
            at = place[int((tree.true if left else tree.false)[at])]
        found[row] = sums[at]
    return tree.link.apply(found if tree.outputs > 1 else found[:, 0])


def worse(test: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Return the test rows, and as many again that lack values or have levels nobody has seen."""
    rng = np.random.default_rng(0)
    codes = {item.column for item in spec.categorical}
    read = codes | {item.column for item in spec.numeric}
    changed = test.with_columns(
        pl.when(pl.Series(rng.random(test.height) < 0.8)).then(pl.col(name)).alias(name)
        for name in test.columns
        if name in read
    ).with_columns(
        pl.when(pl.Series(rng.random(test.height) < 0.9))
        .then(pl.col(name))
        .otherwise(pl.lit('it\'s a "new" one'))
        .alias(name)
        for name in test.columns
        if name in codes
    )
    return pl.concat([test, changed])


def prove(
    asked: Query, agreed: Contract, table: str, rows: pl.DataFrame, expected: Floats
) -> tuple[str, float]:
    """Return which engine answered, and how far from the model at most, in units of the score.

    DuckDB answers where it is installed, else Polars. ProjectError when TOLERANCE is passed.
    """
    name, wanted = table or agreed.name, expected.reshape(len(expected), -1)
    text = asked.text.replace(f"FROM {_name(name)}\n", "FROM rows_to_prove\n")
    engine, answer = _ask(text, rows)
    found = answer.select(asked.numbers).to_numpy().astype(np.float64)
    if found.shape != wanted.shape:
        raise ProjectError(f"{engine} answers {found.shape} numbers, not {wanted.shape}")
    found = found.reshape(expected.shape)
    apart = float((np.abs(found - expected) / task.unit(expected)).max(initial=0.0))
    if not apart <= TOLERANCE:
        raise ProjectError(
            f"the query differs from the model by {apart:.2g} in {engine}: no file was written; "
            "please report this as a bug of the template"
        )
    return engine, apart


def _ask(text: str, rows: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    try:
        duckdb = import_module("duckdb")
    except ImportError:
        try:
            return "Polars", pl.SQLContext(rows_to_prove=rows).execute(text, eager=True)
        except pl.exceptions.PolarsError as error:
            raise ProjectError(
                f"Polars cannot run the query ({' '.join(str(error).split())[:200]}): install "
                "DuckDB, which can (`uv sync --group duckdb`)"
            ) from None
    with TemporaryDirectory() as folder, closing(duckdb.connect()) as connection:
        path = Path(folder) / "rows.parquet"
        rows.write_parquet(path)
        connection.execute("set threads = 1")  # keeps the order of rows
        connection.execute(f"create view rows_to_prove as from read_parquet({_text(str(path))})")
        return "DuckDB", pl.DataFrame(connection.sql(text))


def told(report: dict[str, Any]) -> str:
    """Say which model it is, how good beside the champion, and whether that is enough."""
    gain, proof = report["gain"], report["proof"]
    verdict = (
        "a warehouse can score alone where nobody waits for an answer and no threshold is needed"
        if report["suffices"]
        else f"the champion is worth a service or job: {number(report['min_gain'], 4)} would do"
    )
    return (
        f"{report['model']} as SQL: {report['primary_metric']} "
        f"{number(report['metrics'][report['model']], 4)}, champion "
        f"{number(report['champion'], 4)}, better by {number(gain['value'], 4)} "
        f"({number(gain['low'], 4)} to {number(gain['high'], 4)}): {verdict}\n"
        f"{FILE}: {number(proof['bytes'])} bytes; {proof['by']} answers {number(proof['rows'])} "
        f"rows as the model does, by {proof['worst']:.1g} at most"
    )
