"""Sinks of a run, where `{source}` in a location stands for the name of each source: `video:out/{source}.mp4`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from edgewright.runtime import plugins, sinks
from edgewright.runtime.errors import UsageError
from edgewright.runtime.sinks import PACKAGE, Output, Sink, SinkContext, refuse_source
from edgewright.runtime.sinks._lenient import LenientSink
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import file_word, masked, split_word

PLACE = "{source}"


@contextmanager
def open_run_sinks(
    uris: Sequence[str], context: SinkContext, sources: Mapping[str, Source], *, lenient: bool
) -> Iterator[tuple[Sink, ...]]:
    """The sinks of all `uris` for a run of these `sources`, "" where there is one without a name; each is closed at the end.

    A sink whose module says ONE_SOURCE is refused for several, unless each gets its own. `lenient` ones lose outputs that they
    cannot write.
    """
    with ExitStack() as stack:

        def opened(uri: str, about: SinkContext) -> Sink:
            sink = stack.enter_context(sinks.open_sink(uri, about))
            return LenientSink(sink, uri) if lenient else sink

        yield tuple(_for_all(uri, context, sources, opened) for uri in uris)


def _for_all(
    uri: str, context: SinkContext, sources: Mapping[str, Source], opened: Callable[[str, SinkContext], Sink]
) -> Sink:
    each = {
        name: replace(context, source=source.name, fps=source.fps, live=source.live) for name, source in sources.items()
    }
    if PLACE in uri:
        return BySource(
            {name: opened(uri.replace(PLACE, file_word(name or about.source)), about) for name, about in each.items()}
        )
    word, location = split_word(uri) or ("", uri)
    if len(sources) > 1:
        if getattr(plugins.load(PACKAGE, word), "ONE_SOURCE", False) if word else False:
            raise UsageError(
                f"sink {masked(uri)} would mix {len(sources)} sources; put {PLACE} into its location, so that each gets "
                "its own"
            )
        for about in each.values():
            refuse_source(f"sink {word}", location.partition("?")[0], about.source)
    return opened(uri, context)


class BySource(Sink):
    """Hands every output to the sink of its source."""

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self.sinks = sinks

    @property
    def wants_picture(self) -> bool:
        return any(sink.wants_picture for sink in self.sinks.values())

    @property
    def lost(self) -> int:
        return sum(sink.lost for sink in self.sinks.values())

    def write(self, output: Output) -> None:
        self.sinks[output.frame.origin].write(output)
