"""A web view of the run: `web::8080` for this machine alone, `web:0.0.0.0:8080` for others with a token; see docs/web.md."""

import os
from pathlib import Path

from edgewright.runtime.errors import UsageError, first_line
from edgewright.runtime.sinks import Output, Sink, SinkContext
from edgewright.runtime.uri import positive_number, split_options
from edgewright.runtime.web.access import LEAST_TOKEN, Guard, new_token
from edgewright.runtime.web.address import Address, is_local, listen, parse_address, url_of
from edgewright.runtime.web.app import WebApp
from edgewright.runtime.web.pictures import PictureOptions, Pictures
from edgewright.runtime.web.server import Server
from edgewright.runtime.web.view import RunView

TOKEN_VARIABLE = "EDGEWRIGHT_WEB_TOKEN"
_USUAL_PICTURES = PictureOptions()
_OPTIONS = ("fps", "quality", "width", "clients", "silence", "token_file")


def from_uri(text: str, context: SinkContext) -> "WebSink":
    """The web view at [HOST]:PORT; what is said of its address goes to whoever started the run."""
    location, options = split_options("sink web", text, _OPTIONS)
    address = parse_address(location)

    def number(name: str, default: float, at_most: float) -> float:
        return positive_number(f"option {name} of sink web", options.get(name, str(default)), at_most=at_most)

    pictures = PictureOptions(
        fps=number("fps", 10, 60),
        quality=max(1, round(number("quality", 75, 100))),
        width=max(16, round(number("width", 960, 8192))),
    )
    return WebSink(
        address,
        context,
        token=_given_token(options.get("token_file")),
        pictures=pictures,
        most_streams=max(1, round(number("clients", 100, 10_000))),
        silence_s=number("silence", 10, 86_400),
    )


class WebSink(Sink):
    """Shows the run to browsers, from a thread of its own. It takes an output in a fraction of a millisecond, whoever
    watches.

    Reached from other machines it needs a token; without a given one it makes one up, and says it once.
    """

    def __init__(
        self,
        address: Address,
        context: SinkContext,
        *,
        token: str | None = None,
        pictures: PictureOptions = _USUAL_PICTURES,
        most_streams: int = 100,
        silence_s: float = 10.0,
    ) -> None:
        self._view = RunView(context.labels, context.source, context.status)
        self._pictures = Pictures(pictures)
        app = WebApp(self._view, self._pictures, silence_s=silence_s, most_streams=most_streams)
        self._metrics = app.metrics
        listener = listen(address)
        made_up = token is None and not is_local(listener)
        token = new_token() if made_up else token
        guard = Guard(app.asgi, token=token, name=address.host, port=listener.getsockname()[1])
        self.url = url_of(listener, address)
        self._server = Server(app, guard, listener)
        context.tell(_said(self.url, token, made_up=made_up))

    @property
    def wants_picture(self) -> bool:
        return self._pictures.wanted

    def write(self, output: Output) -> None:
        source = self._view.note(output)
        self._metrics.note(source, output)
        if output.picture is not None:
            self._pictures.offer(source, output.picture)

    def close(self) -> None:
        self._server.stop()


def _given_token(path: str | None) -> str | None:
    """The token of the file, else of the environment; None when there is neither."""
    try:
        token = os.environ.get(TOKEN_VARIABLE) if path is None else Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"token_file {path} of sink web cannot be read as ASCII text: {first_line(err)}") from err
    if token is None:
        return None
    token = token.strip()
    if len(token) < LEAST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        origin = f"variable {TOKEN_VARIABLE}" if path is None else f"file {path}"
        raise UsageError(
            f"the token in {origin} must have {LEAST_TOKEN} printable ASCII characters or more, without spaces; "
            "`openssl rand -hex 16` makes one"
        )
    return token


def _said(url: str, token: str | None, *, made_up: bool) -> str:
    if token is None:
        return f"web view: {url}"
    return f"web view: {url}?token={token if made_up else '...'}"
