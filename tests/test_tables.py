"""Pages whose tables are made a few rows at a time."""

from tables import table_row, with_rows_of

HEAD = "| network | AP |\n|---|---|\n"
OLD = f"# Title\n\n{HEAD}| a | 1 |\n| b | 2 |\n| b | 3 |\n| gone | 4 |\n\n| other | table |\n|---|---|\n| a | 5 |\n"


def test_rows_that_were_not_made_again_stay_and_those_that_were_are_replaced() -> None:
    page = with_rows_of(OLD, f"# New\n\n{HEAD}| c | 7 |\n| a | 8 |\n\nEnd.\n", ["a", "b", "c"])
    assert page == f"# New\n\n{HEAD}| a | 8 |\n| b | 2 |\n| b | 3 |\n| c | 7 |\n\nEnd.\n"


def test_a_first_page_and_a_table_of_other_titles_take_nothing() -> None:
    page = f"{HEAD}{table_row('a', 1)}"
    assert with_rows_of("", page, ["a"]) == page
    assert with_rows_of(OLD.replace("AP", "PQ"), page, ["a", "b"]) == page
