"""`edgewright gate`: may this candidate ship?"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from edgewright.pipeline.verdict import Verdict


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
@click.option(
    "--strict",
    is_flag=True,
    help="What is undecided fails too, as with `when_undecided: fail` in the policy; improvements never do.",
)
@click.option("--junit", metavar="FILE", help="Write the verdict as JUnit XML.")
@click.option("--markdown", metavar="FILE", help="Write the verdict for a pull request.")
@click.option("--html", metavar="FILE", help="Write the verdict as a page.")
@click.option(
    "--annotations",
    type=click.Choice(["auto", "github", "none"]),
    default="auto",
    show_default=True,
    help="Lines on stderr that GitHub Actions shows beside a pull request, and the verdict in the summary of its job; "
    "auto: in a job of GitHub Actions.",
)
@json_option
def command(
    candidates: tuple[str, ...],
    baselines: tuple[str, ...],
    policy: str,
    strict: bool,
    junit: str | None,
    markdown: str | None,
    html: str | None,
    annotations: str,
    json_path: str | None,
) -> int:
    """Judge reports of a candidate against reports of a baseline; the exit status is 0 when it passes, 1 when it fails.

    Several reports of the same bundle, such as those of evaluate and of benchmark, are merged on each side.
    """
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.gate import gate
    from edgewright.pipeline.outputs import refuse_same_file
    from edgewright.pipeline.per_image import read_side
    from edgewright.pipeline.policy import load_policy
    from edgewright.pipeline.report.junit import verdict_junit
    from edgewright.pipeline.report.pages import verdict_html, verdict_markdown
    from edgewright.pipeline.report.text import print_verdict

    refuse_same_file({"--junit": junit, "--markdown": markdown, "--html": html, "--json": json_path})
    rules = load_policy(policy)
    if strict:
        rules = rules.model_copy(update={"when_undecided": "fail"})
    candidate, ours = read_side(candidates)
    baseline, theirs = read_side(baselines) if baselines else (None, None)
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
    if annotations == "github" or (annotations == "auto" and os.environ.get("GITHUB_ACTIONS") == "true"):
        _annotate(verdict)
    return 0 if verdict.passed else 1


def _annotate(verdict: "Verdict") -> None:
    from edgewright.pipeline.report.annotations import verdict_annotations
    from edgewright.pipeline.report.pages import verdict_markdown

    for line in verdict_annotations(verdict):
        click.echo(line, err=True)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        # The file is the step's own, to be appended to.
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(verdict_markdown(verdict) + "\n")


def _write(path: str, content: bytes) -> None:
    from edgewright.runtime.atomic import atomic_file

    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
