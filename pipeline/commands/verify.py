"""`edgewright verify`: is this bundle whole, and does it compute here what it computed where it was made?"""

import click

from edgewright.pipeline.commands._options import engine_options, json_option


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@engine_options
@json_option
def command(bundle: str, backend: str, precision: str, threads: int | None, json_path: str | None) -> int:
    """Check every digest of BUNDLE and re-run its golden tensors on this machine.

    Exit status: 0 all agree, 1 a golden tensor differs, 2 the bundle is damaged, 3 the engine failed.
    """
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.verify import verify
    from edgewright.runtime.bundle import load_bundle

    loaded = load_bundle(bundle)
    checks = verify(loaded, backend=backend, precision=precision, threads=threads)
    passed = all(check.passed for check in checks)
    if json_path is not None:
        tensors = [
            {
                "tensor": c.tensor,
                "passed": c.passed,
                "max_difference": _finite(c.max_difference),
                "of_tolerance": _finite(c.of_tolerance),
            }
            for c in checks
        ]
        write_json(
            json_path,
            {"passed": passed, "bundle": loaded.digest, "backend": backend, "precision": precision, "tensors": tensors},
        )
    out = result_console()
    out.print(f"{len(loaded.files)} files match their digests; bundle digest {loaded.digest[:12]}", highlight=False)
    for check in checks:
        verdict = "agrees" if check.passed else "DIFFERS"
        out.print(
            f"{check.tensor}: {verdict}, max difference {check.max_difference:.3g} ({check.of_tolerance:.2f} of the tolerance)",
            highlight=False,
        )
    out.print(f"{'VERIFIED' if passed else 'FAILED'} on {backend} {precision}", highlight=False)
    return 0 if passed else 1


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
