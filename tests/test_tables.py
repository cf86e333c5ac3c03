"""Pages of which a script makes a section, or some rows of a table."""

from pathlib import Path

import pytest
from tables import table_row, with_rows_of, write_section

HEAD = "| network | AP |\n|---|---|\n"
OLD = f"# Title\n\n{HEAD}| a | 1 |\n| b | 2 |\n| b | 3 |\n| gone | 4 |\n\n| other | table |\n|---|---|\n| a | 5 |\n"


def test_rows_that_were_not_made_again_stay_and_those_that_were_are_replaced() -> None:
    page = with_rows_of(OLD, f"# New\n\n{HEAD}| c | 7 |\n| a | 8 |\n\nEnd.\n", ["a", "b", "c"])
    assert page == f"# New\n\n{HEAD}| a | 8 |\n| b | 2 |\n| b | 3 |\n| c | 7 |\n\nEnd.\n"


def test_a_first_page_and_a_table_of_other_titles_take_nothing() -> None:
    page = f"{HEAD}{table_row('a', 1)}"
    assert with_rows_of("", page, ["a"]) == page
    assert with_rows_of(OLD.replace("AP", "PQ"), page, ["a", "b"]) == page


def test_a_section_takes_the_place_of_the_one_with_its_title(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n## One\n\nold\n\n## Two\n\nstays\n")
    write_section(page, "## One\n\nnew\n")
    assert page.read_text() == "# Title\n\n## One\n\nnew\n\n## Two\n\nstays\n"
    with pytest.raises(SystemExit, match="0 sections '## Three'"):
        write_section(page, "## Three\n")
