"""Take trained detectors and segmenters to embedded devices, and keep them honest there."""


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("edgewright")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
