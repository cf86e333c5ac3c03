"""Who may see the web view, and what it lets pass."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.web import Answer, Served, output, read_to_end, request, served

from edgewright.runtime.errors import UsageError
from edgewright.runtime.sinks import SinkContext, open_sink, web
from edgewright.runtime.web.access import new_token

TOKEN = "a-token-of-some-length"
PATHS = ("/", "/page.js", "/page.css", "/icon.svg", "/status.json", "/metrics", "/healthz", "/events", "/picture.mjpeg")
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.fixture(scope="module", name="local")
def local_fixture() -> Iterator[Served]:
    """A view that only this machine reaches."""
    with served() as view:
        yield view


@pytest.fixture(scope="module", name="closed")
def closed_fixture() -> Iterator[Served]:
    """A view that needs its token."""
    with served(token=TOKEN) as view:
        view.show(output())
        yield view


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_keeps_other_sites_out(local: Served, path: str) -> None:
    answer = local.get(path, method="HEAD")
    assert answer.body == b""
    assert answer.status == (503 if path == "/healthz" else 200)
    assert HEADERS.items() <= answer.headers.items()
    # https://www.w3.org/TR/CSP3/: scripts, styles, pictures and connections of this very origin, and nothing else.
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert not {"access-control-allow-origin", "server"} & answer.headers.keys()


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/page/../../access.py",
        "//etc/passwd",
        "/page.js/../../server.py",
        "/page%00.html",
        "/page.html",
        "/metrics/",
    ],
)
def test_a_path_leads_nowhere_but_to_what_is_shown(local: Served, path: str) -> None:
    answer = local.get(path)
    assert (answer.status, answer.body) == (404, b"Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"])
def test_it_only_shows(local: Served, method: str) -> None:
    answer = local.get("/status.json", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert HEADERS.items() <= answer.headers.items()


def test_without_a_token_only_a_local_name_leads_to_it(local: Served) -> None:
    """A page of another site whose name was made to point here would name itself: DNS rebinding."""
    for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"):
        assert local.get("/status.json", {"Host": host}).status == 200
    for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "[", ""):
        assert local.get("/status.json", {"Host": host}).status == 403


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_token_opens_it_by_header_by_address_and_then_by_cookie(closed: Served) -> None:
    assert closed.get("/metrics", {"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert closed.get(f"/metrics?token={TOKEN}").status == 200
    front = closed.get(f"/?token={TOKEN}")
    assert (front.status, front.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=lax"} <= {part.strip() for part in front.headers["set-cookie"].split(";")}
    assert TOKEN not in cookie_of(front)
    for path in ("/", "/status.json", "/page.js"):
        assert closed.get(path, {"Cookie": f"other=1; {cookie_of(front)}"}).status == 200


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_without_its_token_nothing_is_shown(closed: Served, path: str) -> None:
    wrong = TOKEN[:-1] + "g"
    cookie = cookie_of(closed.get(f"/?token={TOKEN}"))
    refused = [
        closed.get(path),
        closed.get(path, {"Authorization": f"Bearer {wrong}"}),
        closed.get(path, {"Authorization": TOKEN}),
        closed.get(path, {"Authorization": "Bearer "}),
        closed.get(path, {"Authorization": "Bearer ü"}),
        closed.get(f"{path}?token={wrong}"),
        closed.get(f"{path}?token="),
        closed.get(path, {"Cookie": cookie[:-1] + ("0" if cookie[-1] != "0" else "1")}),
        closed.get(path, {"Cookie": f"{cookie.partition('=')[0]}={TOKEN}"}),
        closed.get(path, {"Cookie": "=;;="}),
    ]
    assert {(answer.status, answer.headers["www-authenticate"]) for answer in refused} == {
        (401, 'Bearer realm="edgewright"')
    }
    assert all(b"needs its token" in answer.body for answer in refused)


def test_a_token_is_never_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG), served(token=TOKEN) as view:
        view.get(f"/?token={TOKEN}")
        view.get(f"/nothing?token={TOKEN}")
        with view.connected(f"GET /?token={TOKEN} nonsense\r\n\r\n".encode()) as client:
            assert b"400" in client.recv(100)
    assert view.said == [f"web view: {view.sink.url}?token=..."]
    assert TOKEN not in caplog.text + "".join(capfd.readouterr())


def test_reached_from_outside_it_makes_up_a_token_and_says_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "is_local", lambda listener: False)
    with served() as view:
        (sentence,) = view.said
        match = re.fullmatch(r"web view: (http://127\.0\.0\.1:\d+/)\?token=([\w-]{32})", sentence)
        assert match is not None
        assert view.get("/").status == 401
        assert view.get("/status.json", {"Authorization": f"Bearer {match[2]}", "Host": "camera7"}).status == 200
    assert new_token() != new_token()


def opened(uri: str, said: list[str]) -> None:
    open_sink(uri, SinkContext((), tell=said.append)).close()


def test_a_given_token_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv(web.TOKEN_VARIABLE, TOKEN)
    opened("web::0", said)
    monkeypatch.delenv(web.TOKEN_VARIABLE)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    opened(f"web::0?token_file={tmp_path}/token", said)
    opened("web::0", said)
    assert ["?token=..." in sentence for sentence in said] == [True, True, False]


@pytest.mark.parametrize("token", ["short", "", "with a space in its middle", "mit-Ümlaut-und-mehr-Zeichen"])
def test_a_token_that_is_too_easy_or_cannot_be_sent_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(web.TOKEN_VARIABLE, token)
    with pytest.raises(
        UsageError, match="variable EDGEWRIGHT_WEB_TOKEN must have 16 printable ASCII characters or more"
    ):
        opened("web::0", [])


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"token_file .*nothing of sink web cannot be read"):
        opened(f"web::0?token_file={tmp_path}/nothing", [])


@pytest.mark.parametrize("header", ["Content-Length: 10000000000", "Transfer-Encoding: chunked"])
def test_a_request_with_a_body_is_refused_before_it_is_read(local: Served, header: str) -> None:
    with local.connected(request("/status.json", header)) as client:
        assert read_to_end(client).startswith(b"HTTP/1.1 413 ")
