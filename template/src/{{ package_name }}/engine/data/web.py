"""Pages of an API and files at an address, by HTTP of the standard library.

A token goes in a header and never leaves its host: no redirect is followed, and without TLS it is
sent to this machine alone. A load ends with all pages or with an error; where a refusal is taken
for the end, it says so.
"""

import gzip
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import msgspec
import polars as pl

from ..errors import ProjectError
from ..formats import count
from .reading import series
from .sources import Paging, Source

SECONDS, TRIES, LONGEST_WAIT = 30, 5, 30.0
BUSY, NOT_FOUND = (429, 502, 503, 504), 404
NO_PAGE = (400, NOT_FOUND, 410, 416, 422)  # what servers answer who is asked past the last page
Records = list[dict[str, Any]]
HERE = ("localhost", "127.0.0.1", "::1")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


class _NoPage(ProjectError):
    """There is nothing at an address, or a server says that one asked for too much."""

    def __init__(self, told: str, code: int) -> None:
        super().__init__(told)
        self.code = code


_OPENER = urllib.request.build_opener(_NoRedirect)


def read(
    source: Source, secret: str, since: Any, tell: Callable[[str], None]
) -> tuple[pl.DataFrame, str]:
    """Return the records of all pages, those since a watermark, and what ended them ("": the last).

    A nested value is kept as JSON.
    """
    records: Records = []
    ended = ""
    for page, end in _pages(source, secret, since):
        records += page
        ended = end
        tell(f"{source.server}: {len(records)} records")
    names = dict.fromkeys(name for record in records for name in record)
    columns = {n: series(source.server, n, [record.get(n) for record in records]) for n in names}
    return pl.DataFrame(columns), ended


def download(source: Source, secret: str, target: Path) -> None:
    """Write the file at the address of a server to `target`."""
    target.write_bytes(_get(source, secret, str(source.address["location"]))[0])


def _pages(source: Source, secret: str, since: Any) -> Iterator[tuple[Records, str]]:
    """Yield pages, and with the last one what ended them where it does not tell itself."""
    asked, paging = dict[str, Any](), source.paging
    if source.watermark and since is not None:
        asked[source.watermark.param] = since
    start = str(source.address["location"])
    if paging is None:
        yield _records(source, *_page(source, secret, _with(start, asked))[:1]), ""
        return
    if paging.size:
        asked[paging.size_param] = paging.size
    if paging.kind in ("page", "offset"):
        yield from _counted(source, paging, secret, asked)
    else:
        yield from ((page, "") for page in _linked(source, paging, secret, asked))


def _counted(
    source: Source, paging: Paging, secret: str, asked: dict[str, Any]
) -> Iterator[tuple[Records, str]]:
    """Yield pages that are asked for by number or place; none tells that it is the last.

    A page may be short because it was filtered, so that only the next one tells: an empty one ends
    the load, and behind a short one also a refusal or the same page again.
    """
    start, is_page = str(source.address["location"]), paging.kind == "page"
    place = paging.first if is_page else 0
    before: Records = []
    full = paging.size or 0

    def at(place: int) -> str:
        return _with(start, asked | {paging.param or paging.kind: place})

    for number in range(paging.most):
        url = at(place)
        was_short = number > 0 and len(before) < full
        try:
            content = _page(source, secret, url, patient=number > 0)[0]
        except _NoPage as refused:
            if not number or not (was_short or refused.code == NOT_FOUND):
                raise
            _refuse_gap(source, secret, refused, at(place + (1 if is_page else len(before))))
            yield [], f"ended by a {refused.code} after {count(number, 'page')}"
            return
        found = _records(source, content)
        if was_short and found == before:
            yield [], f"ended by the same page again after {count(number, 'page')}"
            return
        _refuse_again(source, url, found, before)
        yield found, ""
        if not found:
            return
        # A server may give fewer than were asked for: then its second page says how many are full.
        full = min(full, max(len(before), len(found))) if number else full
        place += 1 if is_page else len(found)
        before = found
    raise _too_many(source, paging)


def _linked(
    source: Source, paging: Paging, secret: str, asked: dict[str, Any]
) -> Iterator[Records]:
    """Yield pages of which each names the next one."""
    start, seen = str(source.address["location"]), set[str]()
    url = _with(start, asked)
    before: Records = []
    for _ in range(paging.most):
        if url in seen:
            raise ProjectError(f"{source.server}: the API names a page again that was read: {url}")
        seen.add(url)
        content, headers = _page(source, secret, url)
        found = _records(source, content)
        _refuse_again(source, url, found, before)
        yield found
        following = _following(source, content, headers)
        if following in (None, "", False):
            return
        by_cursor = asked | {paging.param or "cursor": following}
        is_cursor = paging.kind == "cursor"
        url = _with(start, by_cursor) if is_cursor else _link(source, start, url, following)
        before = found
    raise _too_many(source, paging)


def _too_many(source: Source, paging: Paging) -> ProjectError:
    return ProjectError(
        f"{source.server}: more than {paging.most} pages: raise `most` of its paging, or ask for "
        "less by a watermark"
    )


def _refuse_again(source: Source, url: str, found: Records, before: Records) -> None:
    """ProjectError for the page before under another address: so it would go on for ever."""
    if found and found == before:
        raise ProjectError(
            f"{source.server}: {url} gives the same page again: correct `param` or `next` of its "
            "paging"
        )


def _refuse_gap(source: Source, secret: str, refused: _NoPage, following: str) -> None:
    """ProjectError where a page is refused though the one after it has records."""
    try:
        content = _page(source, secret, following)[0]
    except _NoPage:
        return
    if _records(source, content):
        raise ProjectError(f"{refused}, though the page after it has records: load again")


def _link(source: Source, start: str, url: str, following: Any) -> str:
    url = urljoin(url, str(following))
    if _host(url) != _host(start):
        raise ProjectError(f"{source.server}: the next page is on another host: {url}")
    return url


def _following(source: Source, content: Any, headers: http.client.HTTPMessage) -> Any:
    assert source.paging
    if source.paging.next:
        return _at(content, source.paging.next)
    if source.paging.kind == "cursor":
        raise ProjectError(f"{source.server}: paging by cursor needs `next`, such as meta.next")
    for link in str(headers.get("Link", "")).split(","):
        if found := re.search(r"<([^>]*)>.*rel=\"?next\"?", link):
            return found[1]
    return None


def _with(url: str, asked: dict[str, Any]) -> str:
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **asked}
    return urlunsplit(parts._replace(query=urlencode(query)))


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _at(content: Any, path: str, absent: Any = None) -> Any:
    for name in path.split("."):
        content = content.get(name, absent) if isinstance(content, dict) else absent
    return content


def _records(source: Source, content: Any) -> Records:
    found = _at(content, source.records, "absent") if source.records else content
    found = [] if found is None and source.records else found  # so some write an empty list
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        where = f"at {source.records!r}" if source.records else "(`records` says where it stands)"
        raise ProjectError(f"{source.server}: the answer has no list of records {where}")
    return found


def _page(
    source: Source, secret: str, url: str, *, patient: bool = False
) -> tuple[Any, http.client.HTTPMessage]:
    """Return what stands at an address; who is `patient` asks again for a page that is not there.

    A proxy whose server is gone for a moment says 404, too.
    """
    try:
        content, headers = _get(source, secret, url)
    except _NoPage:
        if not patient:
            raise
        time.sleep(_wait(None, 0))
        content, headers = _get(source, secret, url)
    charset = headers.get_content_charset("utf-8")
    try:
        text = content.decode("utf-8-sig" if charset == "utf-8" else charset)
        return msgspec.json.decode(text), headers
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError):
        kind = f" but {headers.get_content_type()}" if headers.get("Content-Type") else ""
        raise ProjectError(f"{source.server}: {url} gave no JSON{kind}") from None


def _get(source: Source, secret: str, url: str) -> tuple[bytes, http.client.HTTPMessage]:
    """Return an answer; five tries while the server is busy, as long apart as it asks for."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProjectError(f"{source.server}: its location is no address of http or https: {url}")
    if secret and parts.scheme == "http" and parts.hostname not in HERE:
        raise ProjectError(f"{source.server}: {source.secret_env} is not sent without TLS: {url}")
    headers = {"Accept": "*/*", "User-Agent": "ml"}
    if secret:
        name = source.secret_header or "Authorization"
        headers[name] = secret if source.secret_header else f"Bearer {secret}"
    for attempt in range(1, TRIES + 1):
        try:
            asked = urllib.request.Request(url, headers=headers)
            with _OPENER.open(asked, timeout=SECONDS) as answer:
                return _unpacked(answer.read(), answer.headers), answer.headers
        except urllib.error.HTTPError as error:
            if error.code in BUSY and attempt < TRIES:
                time.sleep(_wait(error.headers.get("Retry-After"), attempt))
                continue
            told = f"{source.server}: {_said(source, url, error.code)}"
            is_past = error.code in NO_PAGE
            raise (_NoPage(told, error.code) if is_past else ProjectError(told)) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(error, http.client.IncompleteRead):
                reason = "the answer ended early"
            raise ProjectError(f"{source.server}: {url}: {reason}") from None
    raise AssertionError


def _unpacked(content: bytes, headers: http.client.HTTPMessage) -> bytes:
    """Return what a server has packed though nobody asked for it."""
    return gzip.decompress(content) if headers.get("Content-Encoding") == "gzip" else content


def _wait(asked: str | None, attempt: int) -> float:
    seconds = float(asked) if asked and re.fullmatch(r"\d+", asked) else 0.5 * 2**attempt
    return min(seconds, LONGEST_WAIT)


def _said(source: Source, url: str, code: int) -> str:
    """Say what an answer of an HTTP server means, and what mends it."""
    if code in (401, 403):
        need = f"what {source.secret_env} has is refused" if source.secret_env else "it needs a key"
        return f"{url} answers {code}: {need}"
    if 300 <= code < 400:
        return f"{url} answers {code}, a redirect: write the address that it leads to"
    tries = f" after {TRIES} tries" if code in BUSY else ""
    return f"{url} answers {code}{tries}: {http.client.responses.get(code, 'no reason given')}"
