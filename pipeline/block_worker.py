"""A process of its own that loads a bundle once and then runs blocks of frames whenever it is told to.

It reads one line of JSON that says what to load, answers with what it loaded, and then answers every line that holds a
number with the durations of so many runs. Between blocks it waits for the next line and takes no processor time.
"""

import json
import os
import sys
from itertools import cycle, islice
from typing import Any

import numpy as np

from edgewright.pipeline.latency import Run, time_frame, warm_up
from edgewright.runtime.bundle import load_bundle
from edgewright.runtime.errors import EdgeError
from edgewright.runtime.predictor import open_predictor


def main() -> None:
    """Serve until stdin ends."""
    # What an engine may print goes to stderr, so that answers stay alone on stdout.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    job = json.loads(sys.stdin.readline())
    with np.load(job["images"]) as file:
        images = [file[name] for name in file.files]
    engine = {key: job[key] for key in ("backend", "precision", "threads")}
    with open_predictor(load_bundle(job["bundle"]), **engine) as predictor:
        warm = warm_up(predictor, images, job["warmup"], most_s=job["most_s"], tell=lambda phase, done: None)
        first = time_frame(predictor, images[0])
        stages = [stage for stage in Run._fields if getattr(first, stage) is not None]
        answer({
            "settings": predictor.settings, "stages": stages, "warmup_runs": warm.runs, "stable": warm.stable,
        })  # fmt: skip
        pictures = cycle(images)
        for line in sys.stdin:
            runs = [time_frame(predictor, image) for image in islice(pictures, int(line))]
            answer([[getattr(run, stage) for stage in stages] for run in runs])


if __name__ == "__main__":
    try:
        main()
    except EdgeError as err:
        sys.exit(str(err))  # its last words on stderr, which whoever started it passes on
