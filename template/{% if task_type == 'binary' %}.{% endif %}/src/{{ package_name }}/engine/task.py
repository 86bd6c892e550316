"""Binary classification, as far as the machinery has to know it."""

import msgspec

from .model.output import Output

OUTPUTS = (
    Output(
        "probability",
        "number",
        "score",
        "Calibrated probability of the positive class.",
        cuts=tuple(step / 20 for step in range(1, 20)),
    ),
    Output("decision", "boolean", "decision", "Whether the probability reaches the threshold."),
)
NAMES = tuple(output.name for output in OUTPUTS)


def outputs(positive: str) -> tuple[Output, ...]:
    """Return the outputs of a model whose probability is that of the class `positive`."""
    probability, decision = OUTPUTS
    return msgspec.structs.replace(probability, levels=(positive,)), decision
