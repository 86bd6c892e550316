"""`ml plan why`: a block's decision, rule, answers, numbers and sources, in sentences."""

from collections.abc import Iterator

import typer

from ..engine.errors import ProjectError
from ..engine.settings import Project
from . import evidence, measured, signing
from .answers import plain, said
from .blocks import DUTIES, SIGNATURES, before_duties, read, survey

ORIGINS = {
    "preset": "of the preset: nobody gave another",
    "default": "default of the template: nobody gave another",
}


def run(project: Project, identifier: str) -> None:
    """Print a block's decision, rule, answers, numbers and sources, and what would change it."""
    plan = project.plan
    if identifier not in plan.blocks:
        raise ProjectError(f"no block {identifier}; there are {', '.join(plan.blocks)}")
    lines = plan.blocks[identifier].lines
    typer.echo(f"{identifier} {plan.blocks[identifier].title} ({plan.blocks[identifier].gate})")
    if plan.blocks[identifier].question:
        typer.echo(f"question: {plan.blocks[identifier].question}")
    for line in _said_of(project, identifier):
        typer.echo(line)
    keys: list[str] = []
    if identifier in plan.decisions:
        for line in _decided(project, identifier):
            typer.echo(line)
        keys += plan.decisions[identifier].sources
    else:
        for line in before_duties(lines):
            typer.echo(line)
    if DUTIES in lines:
        for duty in plan.duties:
            typer.echo(f"duty: {duty.duty} ({duty.article}): {duty.reason}")
            typer.echo(f"  owner: {duty.owner}; evidence: {duty.evidence}")
            keys.append(duty.source)
    for name, figure in plan.computed.get(identifier, {}).items():
        value = measured.amount(figure)
        typer.echo(f"number: {name} = {value} = {figure.formula} [{figure.source}]")
        keys.append(figure.source)
    for key in dict.fromkeys(keys):
        typer.echo(f"source: {key}: {plan.sources[key]}")


def _decided(project: Project, identifier: str) -> Iterator[str]:
    """Yield a decision: its rule, the answers that it used, its alternatives, how to override."""
    plan = project.plan
    decision, override = plan.decisions[identifier], plan.overrides.get(identifier)
    if decision.output == "verdict":
        yield f"verdict: {plain(evidence.verdict(project)).replace('**', '')}"
    label = "by the answers" if decision.output == "verdict" else "decision"
    yield f"{label}: {decision.said(decision.value)}"
    yield f"rule: {decision.rule}: {decision.why}"
    if override is not None:
        taken = f"{decision.said(override.value)}: {override.reason or 'no reason'}"
        yield f"overridden with {taken}"
    for name in [name for name in decision.uses if name in plan.answers]:
        origin = plan.origins.get(name, "given")
        origin = "" if origin == "given" else f" ({ORIGINS[origin]})"
        yield f"answer: {name} = {said(plan.answers[name])}{origin}"
    for alternative in decision.alternatives:
        yield f"otherwise: {alternative.removesuffix(' otherwise')}"
    words = ", ".join(f"{name} ({said})" for name, said in decision.words.items())
    free = f"any of {words} in plan/overrides.yaml"
    yield f"override: {f'none, {decision.fixed}' if decision.fixed else free}"


def _said_of(project: Project, identifier: str) -> Iterator[str]:
    """Yield what PLAN.md holds of a block: answer, owner, date, status, signature, measurement."""
    parts, broken = survey(read(project.path("PLAN.md")))
    for problem in broken:
        if problem.identifier == identifier:
            yield f"{problem.level}: {plain(problem.message)}"
    human = parts.get(("human", identifier))
    if human is not None:
        lines = ["no answer yet"] if human.open else human.shown
        yield from (f"written: {text}" for line in lines if (text := plain(line)))
        owner, due, status = (plain(human.attributes[n]) for n in ("owner", "due", "status"))
        owner = "nobody" if owner == "none" else owner
        yield f"owner: {owner}; due: {due}; status: {status}"
        if status in SIGNATURES:
            by, on = (plain(human.attributes.get(name, "?")) for name in ("by", "on"))
            stale = signing.stale(project.plan, parts, human) if status == "approved" else None
            yield f"signed: {status} by {by} on {on}{f'; {stale.message}' if stale else ''}"
    measured = parts.get(("measured", identifier))
    for line in measured.shown if measured is not None else ():
        if text := plain(line).strip("_"):
            yield text if text.lower().startswith("measured") else f"measured: {text}"
