"""Valid answers to every question, for property tests; free text is as hostile as it may be."""

import keyword
from typing import Any

from hypothesis import strategies as st

HOSTILE = [
    "She said \"no\", he said 'yes' \\ and left\\n",
    "`id` $(id) ${HOME} %s %(x)s {0} &amp; <b>bold</b>",
    "{{ 7 * 7 }} {% endif %} {# note #}",
    "# % endif",
    "--> <!-- /plan:human EVAL-01 --> <!-- plan:auto EVAL-01 -->",
    "| a | b |",
    "- [ ] **bold** _x_ [link](javascript:alert(1)) ![](x)",
    "key: value # comment",
    "null",
    "0123",
    "---",
    "!!python/object:os.system",
    "@team & *alias",
    "🚀 naïve façade ﬁ",
    "مرحبا بالعالم שלום",
    "日本語のモデル",
    '"""',
    "'''",
    "]]>",
    "\\u0041 \\x00",
]

# What the validators reject: line breaks, control and direction characters, lone surrogates.
_allowed = st.characters(
    exclude_categories=["Cc", "Cs", "Zl", "Zp"],
    exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\ufffe\uffff",
)


def free_text(longest: int) -> st.SearchStrategy[str]:
    """Return texts of one line: hostile ones, any printable ones, and one as long as may be."""
    fitting = [text for text in HOSTILE if len(text) <= longest]
    any_text = st.text(_allowed, min_size=1, max_size=longest).filter(lambda text: text.strip())
    return st.sampled_from([*fitting, "x" * longest]) | any_text


columns = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,20}\Z").filter(
    lambda name: not keyword.iskeyword(name)
)
amounts = st.integers(0, 10**12)

# One strategy for each question that does not depend on another answer.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "detail": st.sampled_from(["quick", "full"]),
    "preset": st.sampled_from(["none", "churn", "fraud", "credit"]),
    "plan_depth": st.sampled_from(["light", "standard", "regulated"]),
    "project_name": free_text(60),
    "project_slug": st.from_regex(r"\Ax[a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,3}\Z"),
    "package_name": st.from_regex(r"\Ax[a-z0-9]{0,8}(_[a-z0-9]{1,8}){0,3}\Z"),
    "problem": free_text(479).map(lambda text: f"{text} - for whom, and why?"),
    "owner": free_text(80),
    "currency": st.from_regex(r"\A[A-Z]{3}\Z"),
    "task_type": st.just("binary"),
    "prediction_unit": free_text(130),
    "image_column": st.sampled_from(["", "photo_of_it", "X9"]),
    "image_side": st.sampled_from([16, 32, 128]),
    "label_delay_days": st.integers(0, 3650),
    "has_labels": st.booleans(),
    "n_rows": st.integers(100, 10**12),
    "pos_rate": st.floats(0.0001, 0.9999),
    "personal_data": st.booleans(),
    "row_bytes": st.integers(1, 10**9),
    "data_growth": st.floats(0, 1),
    "retention_months": st.integers(0, 1200),
    "cost_fp": st.floats(0.0001, 1e9),
    "cost_fn": st.floats(0.0001, 1e9),
    "cost_tp": st.floats(-1e9, 0),
    "cost_tn": st.floats(-1e9, 0),
    "action_success": st.floats(0.2, 1),  # more than any preset's costs ask for
    "today_caught": st.floats(0, 1),
    "today_precision": st.just(1.0) | st.floats(0.9999, 1),  # beside any share of positives
    "daily_capacity": st.integers(0, 10**9),
    "predictions_per_month": st.integers(1, 10**12),
    "history_months": st.floats(0.1, 1200),
    "yearly_gap": amounts,
    "gap_growth": st.floats(0, 1),
    "indirect_gap": amounts,
    "hours_saved": st.integers(0, 10**6),
    "hourly_rate": st.floats(0, 10**4),
    "benefit_growth": st.floats(0, 1),
    "alternative_npv": amounts,
    "kpi": free_text(80),
    "kpi_now": st.floats(-1e12, 1),  # today's figure and the target differ
    "kpi_target": st.floats(1.1, 1e12),
    "build_cost": amounts,
    "build_months": st.integers(1, 60),
    "build_months_worst": st.integers(60, 240),
    "run_cost": amounts,
    "ramp_months": st.integers(0, 60),
    "horizon_months": st.integers(61, 120),
    "discount_rate": st.floats(0, 1),
    "success_probability": st.floats(0.01, 1),
    "interpretability": st.sampled_from(["none", "global", "local", "inherent"]),
    "min_gain": st.floats(0, 0.5),
    "min_metric": st.floats(0, 1),
    "ab_effect": st.floats(0.001, 1),
    "deployment_modes": st.sampled_from([["rest"], ["batch"], ["edge"], ["rest", "batch"]]),
    "latency_ms": st.integers(1, 60000),
    "peak_qps": st.integers(1, 10**6),
    "machine_price": st.floats(0, 10**4),
    "place_limit": st.sampled_from(["none", "country", "building", "offline"]),
    "hosting": st.sampled_from(["machine", "kubernetes"]),
    "code_host": st.sampled_from(["github", "gitlab"]),
    "runs_on": st.sampled_from(["nothing", "own_servers", "aws", "azure", "gcp", "databricks"]),
    "batch_schedule": st.sampled_from(["0 5 * * *", "*/15 0-6,22 1 1,7 5", "59 23 31 12 7"]),
    "batch_deadline_hours": st.floats(0.1, 720),
    "edge_size_mb": st.floats(0.01, 2000),
    "edge_latency_ms": st.floats(0.1, 60000),
    "stream_seconds": st.floats(0.1, 86400),
    "availability": st.floats(0.9, 0.9999),
    "window_days": st.integers(1, 90),
    "decision_mode": st.sampled_from(["human_in_loop", "automated"]),
    "action": st.sampled_from(["treatment", "block", "inform"]),
    "significant_effect": st.booleans(),
    "legal_basis": st.sampled_from(
        ["undecided", "consent", "contract", "legal_obligation", "public_task"]
    ),
    "jurisdictions": st.sampled_from(
        [["eu"], ["us_ca", "us_health", "us_credit"], ["uk", "other"], ["eu_credit", "other"]]
    ),
    "risk_class": st.sampled_from(["minimal", "limited", "high", "prohibited"]),
    "oncall": free_text(80),
    "python_version": st.sampled_from(["3.11", "3.12", "3.13"]),
}
HIDDEN_WITHOUT = {
    "latency_ms": "rest",
    "peak_qps": "rest",
    "availability": "rest",
    "window_days": "rest",
    "batch_schedule": "batch",
    "batch_deadline_hours": "batch",
    "edge_size_mb": "edge",
    "edge_latency_ms": "edge",
    "stream_seconds": "streaming",
}
# Questions that are asked only where another answer is more than 0.
HIDDEN_AT_ZERO = {
    "today_precision": "today_caught",
    "hourly_rate": "hours_saved",
    "image_side": "image_column",  # or is no name
}


def known(given: dict[str, Any]) -> dict[str, Any]:
    """Return the answers that count: what is asked for nothing is recorded nowhere."""
    modes = given["deployment_modes"]
    if modes == ["edge"]:  # devices are hosted nowhere
        given = {name: value for name, value in given.items() if name != "hosting"}
    return {
        name: value
        for name, value in given.items()
        if HIDDEN_WITHOUT.get(name, modes[0]) in modes
        and given.get(HIDDEN_AT_ZERO.get(name, ""), "" if name == "image_side" else 1)
        not in (0, "")
    }


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """Return valid answers to some of the questions; Copier takes its defaults for the rest."""
    given = {name: draw(values) for name, values in VALUES.items() if draw(st.booleans())}
    target, entity, time = draw(st.lists(columns, min_size=3, max_size=3, unique=True))
    roles = {"target": target}
    roles |= {"entity": draw(st.sampled_from([entity, ""]))}
    roles |= {"time_column": draw(st.sampled_from([time, ""]))}
    given |= {name: value for name, value in roles.items() if draw(st.booleans())}
    if given.get("entity"):
        given["entity_repeats"] = draw(st.booleans())
    if "yearly_gap" in given and draw(st.booleans()):
        given["monthly_benefit"] = draw(st.integers(0, given["yearly_gap"] // 12))
    if any(name.startswith("cost_") for name in given):
        given.pop("action_success", None)  # how often it has to work follows from the costs
    preset = given.get("preset", "none")
    usual = {"churn": ["batch"], "fraud": ["rest"], "credit": ["rest"]}.get(preset)
    if preset != "none" and {"pos_rate", "today_caught"} & given.keys():
        given.setdefault("today_caught", 0.5)  # what a preset says of today fits its own share
        given["today_precision"] = 1.0
    modes = given.get("deployment_modes", usual or ["rest", "batch"])
    if modes == ["edge"]:  # devices are hosted nowhere
        given.pop("hosting", None)
    if given.get("personal_data") is False:
        given.pop("significant_effect", None)
        given.pop("legal_basis", None)
    for name in [name for name, other in HIDDEN_AT_ZERO.items() if not given.get(other)]:
        given.pop(name, None)
    return {k: v for k, v in given.items() if HIDDEN_WITHOUT.get(k, modes[0]) in modes}
