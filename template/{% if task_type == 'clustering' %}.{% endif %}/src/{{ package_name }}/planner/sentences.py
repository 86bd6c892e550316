"""What the measured parts of PLAN.md say of clustering; measured.py tells how."""

from ..engine.formats import count, number, percent
from ..engine.settings import Project
from .blocks import escape
from .compared import Report, interval, more

TEXTS: dict[str, tuple[str, str]] = {
    "TRAIN-01": (
        "training",
        "measured: {split[development_rows]:0} development rows and {split[test_rows]:0} test rows "
        "({split[test_labelled]:0} with a segment of today), {cv[folds]} folds{notes}",
    ),
    "EVAL-05": ("metrics", "measured: {width_segments}{tried_numbers}"),
    "EVAL-07": (
        "metrics",
        "measured: resamples find the segments again with an adjusted Rand index of "
        "{quality[stability]:ci2}, {quality[floor]:2} is asked for; {placed_alike:share} of the "
        "rows are placed alike{loosest}\n"
        "shape: silhouette of all pairs {quality[silhouette_pairs]:3}, Davies-Bouldin index "
        "{quality[davies_bouldin]:3}, Calinski-Harabasz index {quality[calinski_harabasz]:0}",
    ),
    "EVAL-09": (
        "metrics",
        "measured: {named}; {noise:%} of the rows are far from all\n"
        "by hand: {by_hand}\n"
        "today: {against_today}",
    ),
}
TOLD = 2  # features by which a segment is told
LOOSE = 0.6  # of the Jaccard index, below which a segment is not to be trusted (Hennig 2007)


def metrics(report: Report, project: Project) -> Report:
    """Return what TEXTS says of metrics.json beside what stands there."""
    tree, segments = report["tree"], report["segments"]
    return {
        "worth": _worth(report, project),
        "width_segments": count(len(segments), "segment"),
        "tried_numbers": _numbers(report["numbers"]),
        "loosest": _loosest(segments),
        "named": "; ".join(map(_segment, segments)),
        "by_hand": f"a tree of {count(tree['depth'], 'question')} in a row places "
        f"{percent(tree['agreement'])} of the rows as the model does"
        if tree["rules"]
        else "no question tells the segments apart",
        "against_today": _today(report["today"]),
    }


def _numbers(tried: list[Report]) -> str:
    """Say how clear and how stable each number of segments is."""
    found = [
        f"{number(item['silhouette'], 3)} and {number(item['stability'], 2)} of "
        f"{number(item['segments'])}"
        for item in tried
    ]
    return f"; silhouette and stability: {', '.join(found)}" if found else ""


def _loosest(segments: list[Report]) -> str:
    """Name the segments that dissolve in resamples."""
    loose = [
        f"{escape(segment['name'])} ({number(segment['stability'], 2)})"
        for segment in segments
        if segment["stability"] < LOOSE
    ]
    return f"; not to be trusted, by their Jaccard index: {', '.join(loose)}" if loose else ""


def _segment(segment: Report) -> str:
    """Name a segment with its share and what sets it apart."""
    told = [f"{escape(name)} {escape(text)}" for name, text, _ in segment["profile"][:TOLD]]
    apart = f": {', '.join(told)}" if told else ""
    return f'"{escape(segment["name"])}" {percent(segment["share"])}{apart}'


def _today(held: Report | None) -> str:
    """Say how near segments are to those of today's rule."""
    if held is None:
        return "no rows with a segment of today to compare with"
    said = f"an adjusted Rand index of {number(held['agreement'], 2)} against today's "
    return f"{said}{count(held['segments'], 'segment')}, by {count(held['known'], 'row')}"


def _worth(report: Report, project: Project) -> str:
    """Say that only use can tell what segments are worth, and what they are worth at most."""
    business, placed = report["business"], interval(report["placed_alike"], share=True)
    today = 12 * max(0.0, project.plan.number("VAL-02", "today"))
    worth, unit = business["value_at_most"] - today, f" {escape(business['currency'])} a year"
    said = f"value: not measured, as only use can show it; at most {more(worth, 0, unit)} today, if"
    return f"{said} the {placed} of the rows that resamples place alike were treated as fits them"
