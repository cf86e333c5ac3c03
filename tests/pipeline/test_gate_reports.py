"""The verdict as text, JUnit XML, Markdown and HTML."""

import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.pipeline.browser import WIDTHS, browser, look

from edgewright.pipeline.gate import gate
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.junit import verdict_junit
from edgewright.pipeline.report.numbers import shown
from edgewright.pipeline.report.pages import verdict_html, verdict_markdown
from edgewright.pipeline.report.schema import BundleIdentity, DataIdentity, Measurement, Report
from edgewright.pipeline.report.text import print_verdict
from edgewright.pipeline.verdict import Verdict

AWKWARD = "AP/<b>pipe|star*\x01 & \nco"


def report(digest: str, **values: float) -> Report:
    named = {"AP": values["ap"], AWKWARD: 0.5, "latency.infer.p50": values["ms"]}
    return Report(
        bundle=BundleIdentity(name="nano", digest=digest * 64, task="detect", precision="fp32"),
        data=DataIdentity(uri="coco:val|x:val.json", digest="d" * 64, images=80),
        settings={},
        device={"board": "Jetson Orin Nano", "cpu_model": "Cortex-A78AE"},
        measurements=tuple(
            Measurement(name=n, value=v, unit="ms" if "." in n else "fraction", higher_is_better="." not in n)
            for n, v in named.items()
        ),
        created="2026-01-01T10:20:30+00:00",
    )


def verdict(ap: float = 0.309) -> Verdict:
    policy = Policy(
        allowed_drop={"AP": 0.005, AWKWARD: 0.1, **({"AR1": 0.1} if ap < 0.3 else {})},
        allowed_ratio={"latency.infer.p50": 1.1},
    )
    return gate(report("c", ap=ap, ms=10.5), report("b", ap=0.309, ms=10.0), policy)


def text_of(judged: Verdict) -> list[str]:
    stream = io.StringIO()
    print_verdict(judged, Console(file=stream, width=120, color_system=None))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_the_text_starts_with_the_reason_and_lists_failures_before_what_holds() -> None:
    lines = text_of(verdict(ap=0.259))
    assert lines[0] == "FAILED: AP 0.259, baseline 0.309, allowed drop 0.005 (and 1 more of 4 limits)"
    assert [line.split()[0] for line in lines[2:5]] == ["fail", "missing", "pass"]
    assert re.search(r"latency.infer.p50 +10.5 ms +10 ms +\+0.5 ms \(\+5.0%\) +ratio ≤ 1.1", "\n".join(lines))
    assert "device: Jetson Orin Nano, Cortex-A78AE" in lines
    assert text_of(verdict())[0] == "PASSED: 3 of 3 limits hold"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.30912, "fraction", "0.309"),
        (12.345, "ms", "12.35 ms"),
        (0.04321, "s", "0.04321 s"),
        (913_000.0, "count", "913,000"),
        (1.2, "", "1.2"),
    ],
)
def test_numbers_are_shown_short_with_their_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_numbers_get_digits_until_they_differ_from_what_they_are_compared_with() -> None:
    assert shown(0.30912, "fraction", apart_from=0.30914) == "0.30912"
    assert shown(123_456.0, "ms", apart_from=123_457.0) == "123,456 ms"


def junit_schema() -> Any:
    xmlschema = pytest.importorskip("xmlschema", reason="no validator of XML schemas; pip install xmlschema")
    return xmlschema.XMLSchema(str(Path(__file__).with_name("junit.xsd")))


@pytest.mark.parametrize("ap", [0.309, 0.259])
@pytest.mark.parametrize("state", [{}, {"disturbed": ["the machine was hot\x00 & bothered"]}])
def test_the_junit_file_follows_the_common_schema(ap: float, state: dict[str, Any]) -> None:
    baseline = report("b", ap=0.309, ms=10.0).model_copy(update={"state": state})
    judged = gate(report("c", ap=ap, ms=10.5), baseline, verdict(ap).policy)
    text = verdict_junit(judged)
    junit_schema().validate(text.decode())
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    for element in (root, *root.findall("testsuite")):
        counts = {name: int(element.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
        found = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
        assert counts == {name: len(element.findall(f".//{tag}")) for name, tag in found.items()}


def test_the_schema_refuses_what_is_not_junit() -> None:
    schema = junit_schema()
    good = verdict_junit(verdict()).decode()
    assert schema.is_valid(good)
    assert not schema.is_valid(good.replace("<testcase", "<case").replace("</testcase", "</case"))
    assert not schema.is_valid(good.replace('timestamp="2', 'timestamp="on 2'))
    assert not schema.is_valid(good.replace(' errors="0"', ""))


def test_the_junit_file_has_a_case_for_every_limit_and_says_why_it_failed() -> None:
    cases = ET.fromstring(verdict_junit(verdict(ap=0.259))).findall(".//testcase")
    failures = {case.attrib["name"]: case.find("failure") for case in cases}
    assert len(cases) == 4
    assert {name for name, failure in failures.items() if failure is not None} == {
        "allowed_drop AP",
        "allowed_drop AR1",
    }
    failure = failures["allowed_drop AP"]
    assert failure is not None
    assert failure.attrib == {"message": "AP 0.259, baseline 0.309, allowed drop 0.005", "type": "fail"}


def test_markdown_tables_have_as_many_cells_in_every_row_whatever_the_labels_hold() -> None:
    text = verdict_markdown(verdict(ap=0.259))
    assert text.startswith("### ❌ FAILED: AP 0.259, baseline 0.309, allowed drop 0.005")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert r"AP/\<b\>pipe\|star\*" in text
    assert r"80 images of coco:val\|x:val.json" in text


def test_markdown_tables_stand_apart_from_the_text_around_them() -> None:
    lines = verdict_markdown(verdict(ap=0.259)).splitlines()
    heads = [index for index, line in enumerate(lines) if line.startswith("| | metric")]
    assert len(heads) == 2
    assert all(lines[index - 1] == "" and lines[index + 1].startswith("|:--") for index in heads)
    assert lines[lines.index("</details>") - 1] == lines[lines.index("</details>") + 1] == ""


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_self_contained_and_escapes_labels() -> None:
    page = _Page()
    page.feed(verdict_html(verdict(ap=0.259)))
    assert page.open == []
    assert page.links == ["data:,"]
    assert "script" not in page.seen
    assert "b" not in page.seen
    assert AWKWARD in page.text
    assert any(text.startswith("FAILED: AP 0.259") for text in page.text)


def test_a_browser_shows_the_whole_table_on_a_telephone_too(tmp_path: Path) -> None:
    judged = verdict(ap=0.259)
    doubt = {"status": "undecided", "interval": (-0.133, 0.012), "metric": "boundary-AP-medium@bright"}
    named: list[dict[str, Any]] = [
        doubt,
        *({"metric": name} for name in ("AP/banana", "AP/hair drier", "latency.end_to_end.p50")),
    ]
    findings = (*(judged.findings[0].model_copy(update=update) for update in named), *judged.findings[1:])
    (tmp_path / "page.html").write_text(
        verdict_html(judged.model_copy(update={"findings": findings})), encoding="utf-8"
    )
    with browser() as started:
        for width in WIDTHS:
            seen = look(started, tmp_path / "page.html", width)
            assert (seen.console, seen.requests, seen.scroll_width, seen.cut, seen.broken) == ([], [], width, 0, [])
            assert "−0.133 to +0.012" in seen.text
