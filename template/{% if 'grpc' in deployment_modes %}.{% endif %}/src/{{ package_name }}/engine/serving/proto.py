"""The interface of the gRPC service: a .proto file whose field numbers outlive every model.

`made` derives messages from the columns and outputs of a model, `merged` keeps the numbers that the
file has, `classes` makes the messages from it, so no code is generated. A field that a model no
longer has stays, deprecated: callers that were built with it, and models that need it, go on.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple, get_args, get_origin

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from .. import storage
from ..errors import ProjectError
from ..model import registry, wanted
from ..model.output import PYTHON
from ..model.scorer import Scorer
from ..settings import Project
from . import expected

FILE = "contracts/predict.proto"
SERVICE = "PredictionService"
TYPES = {"number": "double", "integer": "int64", "boolean": "bool"}  # of columns; others are texts
SCALARS = {float: "double", int: "int64", bool: "bool", str: "string"}
OURS = range(19_000, 20_000)  # numbers that protobuf keeps for itself
FALLBACK = "fallback"  # of an answer, that it was made without the model
NAME = r"[A-Za-z_]\w*"
FIELD = re.compile(
    rf"(optional |repeated |)({NAME}) ({NAME}) = (\d+) "
    r'\[json_name = "([^"]*)"(, deprecated = true)?\];(?: // (.*))?'
)
HEAD = """\
// Made by `ml grpc proto` from the columns and outputs of the champion. Numbers are kept for ever:
// a new field gets a new one, and a field that nothing needs any more stays, deprecated. To take
// such a field out, write `reserved NUMBER;` in its place.
syntax = "proto3";
"""
SERVICES = f"""\
service {SERVICE} {{
  // One prediction per row, in their order. INVALID_ARGUMENT names each broken field.
  rpc Predict(PredictRequest) returns (PredictResponse);
  // The same again and again on one call: rows that are refused are answered by `errors`.
  rpc PredictStream(stream PredictRequest) returns (stream PredictResponse);
}}
"""


HISTORY = "Earlier rows of some keys: for these they count in place of what the service knows."


class Field(NamedTuple):
    """A field of a message; `column` is its name in the contract and in JSON."""

    label: str
    type: str
    name: str
    number: int
    column: str
    deprecated: bool = False
    text: str = ""


class Message(NamedTuple):
    """A message and the numbers that it must not use again."""

    fields: tuple[Field, ...]
    reserved: tuple[int, ...] = ()


Messages = dict[str, Message]


def made(scorer: Scorer, *, keyed: bool = True) -> Messages:
    """Return the messages of a model, numbered in their order.

    `keyed`: with what a model of an earlier file may lack, its other keys, a history, a fallback.
    """
    manifest = scorer.manifest
    rows = [
        ("optional", TYPES.get(c.kind, "string"), c.name, c.public().description or expected(c))
        for c in (scorer.sent if keyed else scorer.columns)
    ]
    answers = [(*_of(PYTHON[o.kind]), o.name, o.text) for o in manifest.outputs]
    warning = ("", "string", "warning", "A category that training has not learnt.")
    echoed = [
        ("optional", TYPES.get(key.kind, "string"), key.name, "As it was sent.")
        for key in (scorer.keys.values() if keyed else ())
    ]
    response = [
        ("", "string", "model_version", ""),
        ("repeated", "Prediction", "predictions", "One per row."),
        ("repeated", "Problem", "errors", "Of a refused request in a stream."),
        *(("", "double", name, "What decisions follow from.") for name in manifest.decision),
    ]
    if keyed:
        response.append(("", "bool", FALLBACK, "Scoring broke: what serving.fallback says."))
    problem = [
        ("optional", "int32", "row", "From 0; none: the request as a whole."),
        ("optional", "string", "field", ""),
        ("", "string", "problem", "The rule that is broken, in the words of `ml validate`."),
        ("", "string", "hint", ""),
    ]
    asked = [("repeated", "Row", "rows", "")]
    events: Messages = {}
    if keyed and scorer.events:
        asked.append(("repeated", "History", "history", HISTORY))
        told = [("optional", TYPES.get(c.kind, "string"), c.name, "") for c in scorer.events]
        events["History"] = _numbered(told)
    kinds = wanted.types(scorer.names)
    for name in scorer.wants if keyed else ():
        label, kind = _of(kinds[name])
        asked.append((label or "optional", kind, name, wanted.TEXTS[name]))
    return {
        "Row": _numbered(rows),
        **events,
        "PredictRequest": _numbered(asked),
        "Prediction": _numbered([*answers, warning, *echoed]),
        "Problem": _numbered(problem),
        "PredictResponse": _numbered(response),
    }


def _of(kind: Any) -> tuple[str, str]:
    """Return label and type of a value of Python."""
    return ("repeated", SCALARS[get_args(kind)[0]]) if get_origin(kind) else ("", SCALARS[kind])


def _numbered(fields: Iterable[tuple[str, str, str, str]]) -> Message:
    taken: set[str] = set()
    found = []
    for number, (label, kind, column, text) in enumerate(fields, 1):
        name = _identifier(column, taken)
        found.append(Field(label, kind, name, number, column, text=" ".join(text.split())))
    return Message(tuple(found))


def _identifier(column: str, taken: set[str]) -> str:
    """Return a name for a column that protobuf allows and that no other column has."""
    plain = re.sub(r"\W", "_", column, flags=re.ASCII)
    plain = plain if re.match(r"[A-Za-z]", plain) else f"f_{plain}"
    name, count = plain, 1
    while _folded(name) in taken:
        count += 1
        name = f"{plain}_{count}"
    taken.add(_folded(name))
    return name


def _folded(name: str) -> str:
    """Return what must differ between fields: generated code drops case and underscores."""
    return name.replace("_", "").lower()


def merged(old: Messages, new: Messages) -> Messages:
    """Return the new messages with the numbers of the old ones, whose other fields stay."""
    return {name: _merged(old.get(name, Message(())), wanted) for name, wanted in new.items()}


def _merged(old: Message, new: Message) -> Message:
    before = {field.column: field for field in old.fields}
    reserved = list(old.reserved)
    number = max([0, *reserved, *(field.number for field in old.fields)])
    taken = {_folded(field.name) for field in old.fields}
    found: dict[str, Field] = {}
    for field in new.fields:
        known = before.get(field.column)
        if known and (known.label, known.type) == (field.label, field.type):
            found[field.column] = field._replace(number=known.number, name=known.name)
            continue
        if known:  # of another type, which the number must never have
            reserved.append(known.number)
        number = OURS.stop if number + 1 in OURS else number + 1
        name = known.name if known else _identifier(field.column, taken)
        found[field.column] = field._replace(number=number, name=name)
    left = (field._replace(deprecated=True) for field in old.fields if field.column not in found)
    fields = sorted((*found.values(), *left), key=lambda field: field.number)
    return Message(tuple(fields), tuple(sorted(reserved)))


def lacking(there: Messages, needed: Messages) -> list[str]:
    """Return the fields, as message.column, that are not there as they are needed."""
    has = {(name, f.column, f.label, f.type) for name, m in there.items() for f in m.fields}
    return [
        f"{name}.{field.column}"
        for name, message in needed.items()
        for field in message.fields
        if (name, field.column, field.label, field.type) not in has
    ]


def text(messages: Messages, package: str) -> str:
    """Return the file."""
    parts = [HEAD, f"package {package}.v1;\n", SERVICES]
    for name, message in messages.items():
        lines = [f"message {name} {{"]
        if message.reserved:
            lines.append(f"  reserved {', '.join(map(str, message.reserved))};")
        for field in message.fields:
            label = f"{field.label} " if field.label else ""
            flag = ", deprecated = true" if field.deprecated else ""
            line = f"  {label}{field.type} {field.name} = {field.number} "
            line += f'[json_name = "{field.column}"{flag}];'
            lines.append(f"{line} // {field.text}" if field.text else line)
        parts.append("\n".join([*lines, "}", ""]))
    return "\n".join(parts)


def parsed(content: str) -> Messages:
    """Read what `text` wrote, or a person edited in its form; ProjectError names the line."""
    messages: Messages = {}
    name = ""
    for number, line in enumerate(map(str.strip, content.splitlines()), 1):
        if begin := re.fullmatch(rf"message ({NAME}) {{", line):
            name = begin[1]
            messages[name] = Message(())
        elif line == "}":
            name = ""
        elif not name or not line or line.startswith("//"):
            continue
        elif found := re.fullmatch(r"reserved ((?:\d+, )*\d+);(?: //.*)?", line):
            numbers = (*messages[name].reserved, *map(int, found[1].split(", ")))
            messages[name] = messages[name]._replace(reserved=numbers)
        elif found := FIELD.fullmatch(line):
            field = Field(
                *(found[1].strip(), found[2], found[3], int(found[4]), found[5]),
                *(bool(found[6]), found[7] or ""),
            )
            messages[name] = messages[name]._replace(fields=(*messages[name].fields, field))
        else:
            raise ProjectError(
                f"{FILE}:{number}: {line[:60]!r} is no field as `ml grpc proto` writes it: "
                "correct it, or restore it with git"
            )
    for name, message in messages.items():
        used = [*message.reserved, *(field.number for field in message.fields)]
        if twice := sorted({each for each in used if used.count(each) > 1}):
            raise ProjectError(
                f"{FILE}: message {name} uses the number {twice[0]} twice: give the newer field "
                f"the number {max(used) + 1}"
            )
    return messages


def write(project: Project, *, check: bool = False) -> bool:
    """Bring the file up to date with the champion, unless `check`; return whether it was behind."""
    scorer = Scorer.load(registry.champion_folder(project))
    path = project.path(FILE)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    after = text(merged(parsed(before), made(scorer)), project.plan.project.package)
    if after != before and not check:
        storage.write_text(path, after)
    return after != before


def of(project: Project) -> "Interface":
    """Read the file; where it is missing it is written, so that the numbers are kept from here."""
    path = project.path(FILE)
    if not path.is_file():
        try:
            write(project)
        except OSError as error:
            raise ProjectError(
                f"{FILE} is missing and cannot be written ({error.strerror}): run `ml grpc proto` "
                "in the project and commit it"
            ) from None
    return Interface(parsed(path.read_text(encoding="utf-8")), project.plan.project.package)


class Interface:
    """The messages of a file as classes of Python, with the descriptors that reflection shows."""

    def __init__(self, messages: Messages, package: str) -> None:
        self.messages = messages
        self.package = f"{package}.v1"
        self.service = f"{self.package}.{SERVICE}"
        self.pool = descriptor_pool.DescriptorPool()
        self.pool.Add(self._file())
        self.request = self._class("PredictRequest")
        self.response = self._class("PredictResponse")
        self.prediction = self._class("Prediction")
        self.problem = self._class("Problem")
        self.columns = {field.name: field.column for field in messages["Row"].fields}
        told = messages.get("History", Message(()))
        self.events = {field.name: field.column for field in told.fields}
        asked = {field.column: field.name for field in messages["PredictRequest"].fields}
        self.wanted = {name: asked[name] for name in wanted.FIELDS if name in asked}
        self.outputs = {field.column: field.name for field in messages["Prediction"].fields}
        self.answers = {field.column: field.name for field in messages["PredictResponse"].fields}

    def outputs_of(self, model: Any) -> list[tuple[str, str]]:
        """Return what predictions of a model have, and its field; keys may have none."""
        kind = model.prediction_type
        named = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
        return [(n, self.outputs[column]) for n, column in named if column in self.outputs]

    def _class(self, name: str) -> Any:
        found = self.pool.FindMessageTypeByName(f"{self.package}.{name}")
        return message_factory.GetMessageClass(found)

    def _file(self) -> descriptor_pb2.FileDescriptorProto:
        file = descriptor_pb2.FileDescriptorProto(
            name="predict.proto", package=self.package, syntax="proto3"
        )
        for name, message in self.messages.items():
            self._add(file.message_type.add(name=name), message)
        service = file.service.add(name=SERVICE)
        for method, stream in (("Predict", False), ("PredictStream", True)):
            service.method.add(
                name=method,
                input_type=f".{self.package}.PredictRequest",
                output_type=f".{self.package}.PredictResponse",
                client_streaming=stream,
                server_streaming=stream,
            )
        return file

    def _add(self, made: descriptor_pb2.DescriptorProto, message: Message) -> None:
        kinds = descriptor_pb2.FieldDescriptorProto
        for field in message.fields:
            added = made.field.add(name=field.name, number=field.number, json_name=field.column)
            added.label = (
                kinds.LABEL_REPEATED if field.label == "repeated" else kinds.LABEL_OPTIONAL
            )
            if field.type in self.messages:
                added.type = kinds.TYPE_MESSAGE
                added.type_name = f".{self.package}.{field.type}"
            else:
                added.type = kinds.Type.Value(f"TYPE_{field.type.upper()}")
            added.options.deprecated = field.deprecated
            if field.label == "optional":
                added.proto3_optional = True
                added.oneof_index = len(made.oneof_decl)
                made.oneof_decl.add(name=f"_{field.name}")
        for number in message.reserved:
            made.reserved_range.add(start=number, end=number + 1)
