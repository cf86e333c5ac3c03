"""`edgewright <verb>`: every file of pipeline/commands is a verb and is imported only when it is called."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from edgewright.runtime import plugins
from edgewright.runtime.errors import EdgeError, StuckError, UsageError

# The signal that ended the program: a library that is interrupted may turn it into an error of its own.
_stopped_by: list[int] = []
_COMMANDS = "edgewright.pipeline.commands"


class _ReaderGoneError(Exception):
    """Nobody reads stdout any more, as after `| head`."""


class VerbGroup(click.Group):
    """A click group whose commands are the modules of pipeline/commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name.replace("_", "-") for name in plugins.names(_COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = cmd_name.replace("-", "_")
        if module not in plugins.names(_COMMANDS):
            return None
        command: click.Command = plugins.load(_COMMANDS, module).command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Prints the help.
        with _reader_noticed():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _reader_noticed():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise UsageError(
                f"there is no verb '{args[0]}'{plugins.suggestion(args[0], known)}; the verbs are: {', '.join(known)}"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="edgewright", message="edgewright %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def edgewright(debug: bool) -> None:
    """Take trained detectors and segmenters to devices, and keep them honest there."""
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s")


def main(args: list[str] | None = None) -> None:
    """Run one verb and exit: 0 done, 1 gate or parity failed, 2 misuse, 3 device failed, 130 interrupted, 141 reader gone."""
    words = sys.argv[1:] if args is None else args
    _clean_up_on_sigterm()
    try:
        status: Any = edgewright.main(args=words, prog_name="edgewright", standalone_mode=False)
    except EdgeError as err:
        if "--debug" in words:
            raise
        if isinstance(err, StuckError):
            _fail_at_once(err)
        _fail(str(err), err.exit_status)
    except click.exceptions.Abort:
        _fail("interrupted", 130)
    except click.ClickException as err:
        _fail_usage(err)
    except _ReaderGoneError:
        # Point stdout elsewhere, so that the interpreter's own flush at the end stays silent; 141 as a shell says it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except ImportError as err:
        if "--debug" in words:
            raise
        _fail(_import_failure(err), 3)
    except Exception as err:
        if "--debug" in words:
            raise
        _fail(
            f"unexpected {type(err).__name__}: {err}; run `edgewright --debug ...` for the traceback and report it", 3
        )
    else:
        sys.exit(status if isinstance(status, int) else 0)


@contextmanager
def _reader_noticed() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as err:
        # Click would exit with 1, which means that a gate failed.
        raise _ReaderGoneError from err


def _clean_up_on_sigterm() -> None:
    """Let SIGTERM, as of a cancelled job, unwind the program, so that temporary files go away."""

    def stop(number: int, _: FrameType | None) -> None:
        _stopped_by.append(number)
        sys.exit(128 + number)

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)


def _import_failure(err: ImportError) -> str:
    if isinstance(err, ModuleNotFoundError) and (err.name or "").split(".")[0] != "edgewright":
        return str(plugins.missing_dependency(err, needed_by="this verb"))
    text = str(err)
    if "libGL" in text or "libgthread" in text or "libxcb" in text:
        return (
            f"OpenCV cannot be loaded: {text}; install the system's libraries (Debian, Ubuntu: apt install libgl1 libglib2.0-0), "
            "or replace opencv-python by opencv-python-headless"
        )
    return f"a package cannot be loaded: {text}; install edgewright again"


def _fail_usage(err: click.ClickException) -> None:
    hint = ""
    if isinstance(err, click.UsageError) and err.ctx is not None:
        hint = f" (see: {err.ctx.command_path} --help)"
    message = err.format_message()
    _fail(f"{message[:1].lower()}{message[1:]}{hint}", err.exit_code)


def _fail(sentence: str, status: int) -> None:
    if _stopped_by:
        sys.exit(128 + _stopped_by[0])
    click.echo(f"error: {sentence}", err=True)
    sys.exit(status)


def _fail_at_once(err: StuckError) -> None:
    """Without the interpreter's end, which destroys the engine and waits for what does not return."""
    click.echo(f"error: {err}", err=True)
    sys.stdout.flush()
    os._exit(err.exit_status)


if __name__ == "__main__":
    main()
