"""Where the data come from: `servers` of the contract, read into one list, the best source first.

The standard says what each type of server needs; what it has no word for stands in the server's
`customProperties`, by the names of `Source`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from .. import storage
from ..errors import ProjectError, told
from ..settings import Project, load_yaml

Kind = Literal["internal", "third party", "public", "stream", "made up"]
Method = Literal["file", "query", "etl", "api", "stream"]
Grade = Annotated[int, msgspec.Meta(ge=1, le=5)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
UNKNOWN = "unknown"
MANIFEST = "data/raw/manifest.json"  # of what was loaded last
# Of a server of any type, from the outside in.
PLACES = (
    *("location", "endpointUrl", "host", "account", "project", "catalog", "database", "dataset"),
    *("schema", "path"),
)


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A part of what is said of a source: unknown names and wrong types are errors."""


class Watermark(Part, frozen=True, kw_only=True):
    """How a load asks for what is new: from the highest value of `column` on, less `overlap`.

    Overlap is in seconds for times and dates, else in units of the column. An API is asked by the
    parameter `param`. Every `whole_days` days all is loaded again, because what was deleted at the
    source is seen no other way.
    """

    column: str
    overlap: Amount = 0
    param: str = ""
    whole_days: Amount = 30


class Paging(Part, frozen=True, kw_only=True):
    """How an API hands out its pages, and the parameters that ask for one.

    `next` is the path in the answer, such as meta.next, where the cursor or the address of the next
    page stands; for `link` without it that is the header Link.
    """

    kind: Literal["page", "offset", "cursor", "link"]
    param: str = ""
    next: str = ""
    size: Annotated[int, msgspec.Meta(ge=1)] | None = None
    size_param: str = "limit"
    first: Annotated[int, msgspec.Meta(ge=0)] = 1
    most: Annotated[int, msgspec.Meta(ge=1)] = 10_000


class Source(Part, frozen=True, kw_only=True):
    """A source of rows: `used`, or looked at and left out with the `why`.

    Cost is an amount of the plan's currency a month; growth a share a year; relevance and
    feasibility go from 1 to 5; `script` is a file of the project or a command that extracts it: one
    that ends in .sql is the query of `ml ingest`. `secret_env` names the variable of the
    environment that has a password or token; `address` is what the standard says of the server.
    Of a broker are `tls`, `tls_ca` (a file), `mechanism` (of SASL) and `sent`, the column that gets
    the time of each message.
    """

    server: str
    place: str
    type: str = ""
    address: dict[str, Any] = {}
    columns: tuple[str, ...] = ()  # beside those of the contract, for columns.py
    user: str = ""
    secret_env: Annotated[str, msgspec.Meta(pattern=r"^([A-Z_][A-Z0-9_]*)?$")] = ""
    secret_header: str = ""
    sent: str = ""
    tls: bool = False
    tls_ca: str = ""
    mechanism: str = "SCRAM-SHA-512"
    records: str = ""
    paging: Paging | None = None
    watermark: Watermark | None = None
    system: str = UNKNOWN
    owner: str = UNKNOWN
    kind: Kind
    method: Method
    script: str = UNKNOWN
    schedule: str = ""  # of loading, in words
    table: str = ""
    licence: str = UNKNOWN
    freshness_hours: Amount | None = None
    rows: int | None = None
    growth_per_year: float | None = None
    cost_per_month: Amount | None = None
    relevance: Grade | None = None
    feasibility: Grade | None = None
    used: bool = True
    why: str = ""

    @property
    def worth(self) -> int:
        """Relevance x feasibility; 0 where one is not judged."""
        return (self.relevance or 0) * (self.feasibility or 0)

    @property
    def lacks(self) -> list[str]:
        """What nobody has said of a source that is used, by name."""
        needed = ("system", "owner", "licence", "script")
        return [n for n in needed if getattr(self, n).strip() in ("", UNKNOWN)] * self.used


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what with the rows: a role of the team, as `roles` of the standard has it."""

    role: str
    access: Literal["read", "write"] = "read"
    description: str = ""


class _Document(msgspec.Struct):
    servers: list[dict[str, Any]] = []


class _Roles(msgspec.Struct):
    roles: list[Access] = []


def access(path: Path) -> list[Access]:
    """Return who may read and write the rows by a contract; ProjectError for another form."""
    try:
        return msgspec.convert(load_yaml(path) if path.is_file() else {}, _Roles).roles
    except msgspec.ValidationError as error:
        raise ProjectError(f"{path.name}: roles: {told(error, _Roles)}") from None


def of(path: Path) -> list[Source]:
    """Return the sources that a contract names: the most worth first, then the cheapest.

    ProjectError, in one line, for one in another form, and for a password in an address.
    """
    try:
        document = msgspec.convert(load_yaml(path) if path.is_file() else {}, _Document)
        found = [_source(server) for server in document.servers]
    except msgspec.ValidationError as error:
        raise ProjectError(f"{path.name}: servers: {told(error, _Document)}") from None
    if secret := next((s.server for s in found if re.search(r"//[^/\s]*:[^/\s]*@", s.place)), None):
        raise ProjectError(
            f"{path.name}: servers: {secret} has a password in its address: take it out"
        )
    return sorted(found, key=lambda source: (-source.worth, source.cost_per_month or 0))


def _source(server: dict[str, Any]) -> Source:
    name = str(server.get("server", ""))
    said = {item.get("property"): item.get("value") for item in server.get("customProperties", [])}
    parts = [str(server[part]) for part in PLACES if server.get(part)]
    table = [str(said["table"])] if said.get("table") else []
    kind = str(server.get("type", ""))
    read = {"place": f"{kind}: {' / '.join([*parts, *table])}", "type": kind}
    apart = ("server", "type", "customProperties", "description")
    address = {part: value for part, value in server.items() if part not in apart}
    try:
        return msgspec.convert({**said, **read, "server": name, "address": address}, Source)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{name}: customProperties: {told(error, Source)}") from None


def taken(project: Project) -> dict[str, Any]:
    """Return what is told of the last load, nothing before the first."""
    path = project.path(MANIFEST)
    return storage.read_json(path, dict[str, Any]) if path.exists() else {}


def in_use(project: Project) -> Path | None:
    """Return the snapshot that `ml validate` reads; None where there is none."""
    name = taken(project).get("file")
    path = project.path(str(name))
    return path if name and path.is_file() else None
