"""The policy of a release: which measurements are limited, and how."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from edgewright import configs
from edgewright.pipeline.yaml_file import load_yaml
from edgewright.runtime.errors import UsageError
from edgewright.runtime.plugins import suggestion
from edgewright.runtime.spec import Strict

# What two reports must agree in before they may be compared.
COMPARED_SECTIONS = ("bundle", "data", "settings", "device", "state", "against")
LIMIT_SECTIONS = ("floors", "budgets", "allowed_drop", "allowed_rise", "allowed_ratio")

# `latency.end_to_end.p99 on device *Orin Nano*`: long enough to be no part of a label.
_ON_DEVICE = " on device "


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("wants a number")  # YAML reads `yes` and `on` as true, which would count as 1
    return value


Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
Ratio = Annotated[Number, Field(gt=0)]


class Policy(Strict):
    """Limits by metric name or pattern (`AP/*`, as in file names); an exact name overrides the patterns of its section, and
    a name or pattern with ` on device PATTERN` the same without it, on devices whose board or processor is called so.

    `floors` and `allowed_drop` are for metrics that are better when higher, `budgets` and `allowed_rise` for those that
    are better when lower, all in the metric's unit. `allowed_ratio` is candidate / baseline: the most where lower is
    better, the least where higher is better. `compare_across` names what may differ between the two sides. `confidence` is
    that of the intervals of differences, which `resamples` random choices of the images give, and `when_undecided` says what
    to do with a limit that is in doubt. `when_disturbed` says what to make of speed and power while something disturbed the
    device: they are undecided, or fail, or it does not matter.
    """

    floors: dict[str, Number] = {}
    budgets: dict[str, Number] = {}
    allowed_drop: dict[str, NotNegative] = {}
    allowed_rise: dict[str, NotNegative] = {}
    allowed_ratio: dict[str, Ratio] = {}
    compare_across: tuple[str, ...] = ()
    confidence: Annotated[Number, Field(ge=0.5, lt=1)] = 0.95
    # Fewer leave the ends of a 95 % interval to a handful of resamples.
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    when_undecided: Literal["fail", "warn", "pass"] = "warn"
    when_disturbed: Literal["undecided", "fail", "ignore"] = "undecided"

    @property
    def is_relative(self) -> bool:
        """Whether any rule needs a baseline."""
        return bool(self.allowed_drop or self.allowed_rise or self.allowed_ratio)

    def allows_difference(self, field: str) -> bool:
        """Whether the reports may differ in `field`, such as "device.cpu_model"."""
        return any(
            field == allowed or field.startswith(f"{allowed}.") or fnmatchcase(field, allowed)
            for allowed in self.compare_across
        )

    def for_device(self, device: Mapping[str, Any]) -> "Policy":
        """The policy with the limits that hold on this device; UsageError when there are none."""
        sections = {name: _on_device(getattr(self, name), device) for name in LIMIT_SECTIONS}
        if not any(sections.values()):
            raise UsageError(
                f"every limit of the policy is for another device than this one ({', '.join(_names(device)) or 'unknown'}); "
                "add limits that hold everywhere, or change the patterns after `on device`"
            )
        return self.model_copy(update=sections)

    @model_validator(mode="after")
    def _limits_something(self) -> "Policy":
        if not (self.floors or self.budgets or self.is_relative):
            raise ValueError(
                "a policy without a rule passes everything; give at least one, such as `floors: {AP: 0.25}`"
            )
        for name in self.compare_across:
            section = name.partition(".")[0]
            if section not in COMPARED_SECTIONS:
                hint = suggestion(section, COMPARED_SECTIONS)
                raise ValueError(f"compare_across: '{name}' starts with none of {', '.join(COMPARED_SECTIONS)}{hint}")
        return self


def load_policy(name_or_file: str | Path) -> Policy:
    """The built-in policy of that name ("default"), else the policy in that YAML file; UsageError otherwise."""
    path, known = Path(name_or_file), builtin_policies()
    if str(name_or_file) in known and not path.is_file():
        path = _folder() / f"{name_or_file}.yaml"
    elif not path.exists():
        raise UsageError(
            f"policy: '{name_or_file}' is neither a file nor a built-in policy{suggestion(str(name_or_file), known)}; "
            f"give a YAML file, or one of: {', '.join(known)}"
        )
    return load_yaml(path, Policy)


def builtin_policies() -> tuple[str, ...]:
    """The names of the policies that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def _on_device(limits: Mapping[str, float], device: Mapping[str, Any]) -> dict[str, float]:
    """The limits without those of other devices; those of this device stand in place of the general ones."""
    general = {key: limit for key, limit in limits.items() if _ON_DEVICE not in key}
    own = {}
    for key, limit in limits.items():
        metric, found, pattern = key.rpartition(_ON_DEVICE)
        if found and any(fnmatchcase(name.lower(), pattern.strip().lower()) for name in _names(device)):
            own[metric.strip()] = limit
    return {**general, **own}


def _names(device: Mapping[str, Any]) -> list[str]:
    return [str(device[key]) for key in ("board", "cpu_model", "accelerator") if device.get(key)]


def _folder() -> Path:
    return Path(configs.__file__).parent / "policies"
