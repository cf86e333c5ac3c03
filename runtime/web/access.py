"""Who may look: only what reads, with the token when there is one, and with headers that keep other sites out."""

import hmac
import ipaddress
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST_TOKEN = 16
# Bytes of a request's address and header fields; a browser with many cookies sends some thousand.
LARGEST_HEAD = 16 << 10
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_NO_TOKEN = (
    "This web view needs its token. Open the address with ?token=... that was printed when the run began,\n"
    "or send the header Authorization: Bearer TOKEN.\n"
)


def new_token() -> str:
    """A token that cannot be guessed: 192 bits."""
    return secrets.token_urlsafe(24)


class Guard:
    """Lets a request through to `app` when it may pass, and answers itself otherwise.

    Without a `token` only requests that were sent to a local name, or to `name`, pass: the page of another site could
    otherwise let its own name point to this machine, and read along.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, name: str, port: int) -> None:
        self._app = app
        self._token = token
        self._name = name.lower()
        # Browsers keep cookies by host, whatever the port.
        self._cookie = f"edgewright_{port}"
        # The browser keeps what is derived from the token, and not the token.
        self._session = "" if token is None else hmac.digest(token.encode(), b"edgewright web view", "sha256").hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._refusal(scope) or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if _head_bytes(scope) > LARGEST_HEAD:
            return _text("The request is too large.\n", 431, {"Connection": "close"})
        if scope["method"] not in ("GET", "HEAD"):
            return _text(
                "This web view only shows; use GET or HEAD.\n", 405, {"Allow": "GET, HEAD", "Connection": "close"}
            )
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            return _text("Requests have no body here.\n", 413, {"Connection": "close"})
        if self._token is None:
            return None if self._is_local(headers) else _text("This web view is shown under a local name alone.\n", 403)
        if self._has_bearer(headers) or self._has_cookie(headers):
            return None
        if not any(name == "token" and self._equals(value, self._token) for name, value in _query(scope)):
            return _text(_NO_TOKEN, 401, {"WWW-Authenticate": 'Bearer realm="edgewright"'})
        # The token leaves the address, so that it is not in the history, and the browser is known by its cookie.
        return _to_front(self._cookie, self._session) if scope["path"] == "/" else None

    def _is_local(self, headers: Headers) -> bool:
        name = _host_name(headers.get("host", ""))
        if name == "localhost" or name == self._name:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _has_bearer(self, headers: Headers) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._equals(value.strip(), self._token or "")

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return morsel is not None and self._equals(morsel.value, self._session)

    def _equals(self, given: str, wanted: str) -> bool:
        """In a time that says nothing about where they differ."""
        return bool(wanted) and hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _head_bytes(scope: Scope) -> int:
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    return fields + len(scope.get("raw_path") or b"") + len(scope["query_string"])


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"))


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _text(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text, status, headers)


def _to_front(cookie: str, session: str) -> Response:
    response = RedirectResponse("/", 303)
    # Lax: whoever follows a link that somebody sent comes from another site.
    response.set_cookie(cookie, session, httponly=True, samesite="lax", path="/")
    return response
