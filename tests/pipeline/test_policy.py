from pathlib import Path

import pytest

from edgewright.pipeline.policy import builtin_policies, load_policy
from edgewright.runtime.errors import UsageError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_policy_is_read_with_its_sections_in_order(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, 'floors: {AP: 0.25}\nallowed_drop:\n  AP: 1e-3\n  "AP/*": 0.03\n'))
    assert policy.floors == {"AP": 0.25}
    assert list(policy.allowed_drop.items()) == [("AP", 0.001), ("AP/*", 0.03)]
    assert policy.is_relative


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("floor: {AP: 0.25}", "line 1: there is no key 'floor' (did you mean 'floors'?)"),
        (
            "floors:\n  AP: 0.2\nallowed_drops:\n  AP: 1",
            "line 3: there is no key 'allowed_drops' (did you mean 'allowed_drop'?)",
        ),
        ("floors:\n  AP: 0.2\n  AR1: a lot\n", "line 3: 'floors.AR1' wants a valid number"),
        ("floors:\n  AP: yes\n", "line 2: 'floors.AP' wants a number, got True"),
        ("floors:\n  AP: .nan\n", "line 2: 'floors.AP' wants a finite number, got nan"),
        ("allowed_drop: {AP: -0.1}", "line 1: 'allowed_drop.AP' wants greater than or equal to 0, got -0.1"),
        ("allowed_ratio:\n\n  model_size: 0", "line 3: 'allowed_ratio.model_size' wants greater than 0, got 0"),
        ("floors:\n", "line 1: 'floors' wants a valid dictionary, got None"),
        ("floors: [0.3]", "line 1: 'floors' wants a valid dictionary"),
        ("floors: {AP: 0.1}\nfloors: {AP: 0.2}", "line 2: 'floors' is given twice"),
        ("floors:\n  AP: 0.1\n  AP: 0.2", "line 3: 'AP' is given twice"),
        ("floors: {AP: 0.1}\ncompare_across: device", "line 2: 'compare_across'"),
        (
            "floors: {AP: 0.1}\nwhen_undecided: maybe",
            "line 2: 'when_undecided' wants 'fail', 'warn' or 'pass', got 'maybe'",
        ),
        (
            "floors: {AP: 0.1}\nwhen_distrubed: fail",
            "there is no key 'when_distrubed' (did you mean 'when_disturbed'?)",
        ),
        ("floors: {AP: 0.1}\ncompare_across: [devices]", "'devices' starts with none of"),
        ("compare_across: [device]", "a policy without a rule passes everything"),
        ("{}", "a policy without a rule passes everything"),
        ("", "holds nothing, wanted `key: value` lines"),
        ("- AP", "holds a list"),
        ("floors:\n  *: 0.1", "line 2: this is not valid YAML"),
        ("floors: {AP: 0.1", "this is not valid YAML"),
        ("floors: !!python/object:os.system {}", "line 1: this is not valid YAML: could not determine a constructor"),
        ("[" * 3000, "is not valid YAML (RecursionError)"),
        ("floors: &a {AP: *a}", "line 1: 'floors.AP' wants a valid number"),
        # Aliases that double 40 times: 10^12 values where they are written out.
        ("a: &a0 [1]\n" + "".join(f"a{n}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40)), "there is no key 'a'"),
    ],
)
def test_a_mistake_in_a_policy_is_one_sentence_with_the_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_policy(path)
    message = str(caught.value)
    assert sentence in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_a_policy_that_is_not_there_or_no_text_is_misuse(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a file nor a built-in policy"):
        load_policy(tmp_path / "none.yaml")
    binary = tmp_path / "policy.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        load_policy(binary)


def test_a_misspelt_built_in_policy_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'accuracy'\?.*one of: accuracy, .*default"):
        load_policy("acuracy")


def test_a_file_in_the_working_directory_comes_before_a_built_in_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "default").write_text("floors: {AP: 0.9}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_policy("default").floors == {"AP": 0.9}


@pytest.mark.parametrize("name", builtin_policies())
def test_every_built_in_policy_is_valid(name: str) -> None:
    assert load_policy(name).is_relative


@pytest.mark.parametrize(
    ("allowed", "field", "allows"),
    [
        ("device", "device.cpu_model", True),
        ("device.cpu_model", "device.cpu_model", True),
        ("device.cpu_model", "device.isa", False),
        ("device.memory", "device.memory_gib", False),
        ("settings.*.threads", "settings.benchmark.threads", True),
        ("settings.benchmark", "settings.evaluate.threads", False),
    ],
)
def test_an_allowed_difference_is_a_section_a_field_or_a_pattern(
    tmp_path: Path, allowed: str, field: str, allows: bool
) -> None:
    policy = load_policy(written(tmp_path, f"floors: {{AP: 0.1}}\ncompare_across: ['{allowed}']"))
    assert policy.allows_difference(field) is allows
