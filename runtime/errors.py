"""Every error that a user can cause or meet derives from EdgeError and knows its exit status."""


class EdgeError(Exception):
    """What went wrong, where, what was found, what was wanted and what to do, in one sentence."""

    exit_status = 2


class UsageError(EdgeError):
    """A name, option or value that the caller gave does not exist or does not fit."""


class DataError(EdgeError):
    """Images, labels or reports are missing, unreadable or do not fit together."""


class BundleError(EdgeError):
    """A bundle is missing, damaged, tampered with, or written by a newer version."""


class SourceError(EdgeError):
    """A camera, video or image source cannot be opened or read."""


class SinkError(EdgeError):
    """An output cannot be opened or written."""


class ExportError(EdgeError):
    """A network cannot become a bundle: unknown family, wrong shapes, labels that do not fit."""


class CalibrationError(EdgeError):
    """A network cannot be quantized, or its calibration images do not do."""


class MissingDependencyError(EdgeError):
    """An optional package is not installed; the sentence says which extra brings it."""


class ParityError(EdgeError):
    """Two executions that must agree do not."""

    exit_status = 1


class BackendError(EdgeError):
    """An inference engine or its device failed."""

    exit_status = 3


class StuckError(BackendError):
    """An inference does not return: the thread that is in it cannot be had back, nor the engine be closed."""


def first_line(err: BaseException, *, limit: int = 300) -> str:
    """The first line of what a library's error says, `limit` characters of it, as part of a sentence; its kind when it says
    nothing."""
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:limit].rstrip(". ")
