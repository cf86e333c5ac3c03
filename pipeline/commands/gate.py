"""`edgewright gate`: may this candidate ship?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from edgewright.pipeline.per_image import PerImage
    from edgewright.pipeline.report.schema import Report


class _SeveralBaselines(click.Command):
    """`CANDIDATE --baseline B1 B2` means two baselines, as `--baseline B1 --baseline B2` does; click knows the latter only.

    Without a candidate before it, one word belongs to --baseline: `--baseline B1 CANDIDATE`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        has_candidate = False
        for word in args:
            is_value = bool(spread) and spread[-1].startswith("--") and "=" not in spread[-1]
            if not word.startswith("-") and not is_value:
                if has_candidate and spread[-2:-1] == ["--baseline"]:
                    spread.append("--baseline")
                has_candidate = True
            spread.append(word)
        return super().parse_args(ctx, spread)


@click.command(cls=_SeveralBaselines)
@click.argument("candidates", metavar="CANDIDATE.json...", nargs=-1, required=True)
@click.option(
    "--baseline",
    "baselines",
    metavar="BASELINE.json...",
    multiple=True,
    help="What to compare with; needed unless the policy has only absolute limits.",
)
@click.option(
    "--policy",
    required=True,
    metavar="NAME|FILE",
    help="A built-in policy (default, accuracy, ...) or a YAML file like configs/policies/default.yaml.",
)
@click.option("--junit", metavar="FILE", help="Write the verdict as JUnit XML.")
@click.option("--markdown", metavar="FILE", help="Write the verdict for a pull request.")
@click.option("--html", metavar="FILE", help="Write the verdict as a page.")
@json_option
def command(
    candidates: tuple[str, ...],
    baselines: tuple[str, ...],
    policy: str,
    junit: str | None,
    markdown: str | None,
    html: str | None,
    json_path: str | None,
) -> int:
    """Judge reports of a candidate against reports of a baseline; the exit status is 0 when it passes, 1 when it fails.

    Several reports of the same bundle, such as those of evaluate and of benchmark, are merged on each side.
    """
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.gate import gate
    from edgewright.pipeline.policy import load_policy
    from edgewright.pipeline.report.junit import verdict_junit
    from edgewright.pipeline.report.pages import verdict_html, verdict_markdown
    from edgewright.pipeline.report.text import print_verdict

    rules = load_policy(policy)
    candidate, ours = _read(candidates)
    baseline, theirs = _read(baselines) if baselines else (None, None)
    verdict = gate(candidate, baseline, rules, per_image=(ours, theirs))
    if junit is not None:
        _write(junit, verdict_junit(verdict))
    if markdown is not None:
        _write(markdown, verdict_markdown(verdict).encode())
    if html is not None:
        _write(html, verdict_html(verdict).encode())
    if json_path is not None:
        write_json(Path(json_path), verdict.model_dump(mode="json"))
    print_verdict(verdict, result_console())
    return 0 if verdict.passed else 1


def _read(paths: Sequence[str]) -> "tuple[Report, PerImage | None]":
    """The reports merged, and the results image by image that one of them refers to."""
    from edgewright.pipeline.console import console
    from edgewright.pipeline.per_image import load_per_image
    from edgewright.pipeline.report.schema import load_report, merge

    reports = [load_report(path) for path in paths]
    merged = merge(reports)
    found = None
    for path, report in zip(paths, reports, strict=True):
        if report.per_image is not None and found is None:
            found = load_per_image(path, report.per_image)
            if found is None:
                missing = f"{path}: {report.per_image.file} is not beside it; copy it there to judge drops by intervals"
                console().print(missing, markup=False, highlight=False, soft_wrap=True)
    return merged, found


def _write(path: str, content: bytes) -> None:
    from edgewright.runtime.atomic import atomic_file

    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
