"""What trtexec printed in public reports."""

import pytest

from edgewright.runtime.tensorrt.trtexec_output import parse_trtexec

# NVIDIA/TensorRT issue 4177, comment of 2024-10-03 (TensorRT 10).
WITH_TRANSFERS = """
[10/03/2024-10:47:59] [I] === Performance summary ===
[10/03/2024-10:47:59] [I] Throughput: 130.298 qps
[10/03/2024-10:47:59] [I] Latency: min = 5.38672 ms, max = 13.3664 ms, mean = 7.60628 ms, median = 7.16092 ms, percentile(90%) = 10.2996 ms, percentile(95%) = 10.8698 ms, percentile(99%) = 12.9675 ms
[10/03/2024-10:47:59] [I] Enqueue Time: min = 2.72876 ms, max = 15.0201 ms, mean = 7.63062 ms, median = 7.86694 ms, percentile(90%) = 10.1792 ms, percentile(95%) = 11.7217 ms, percentile(99%) = 14.1848 ms
[10/03/2024-10:47:59] [I] H2D Latency: min = 0.0065918 ms, max = 0.0698242 ms, mean = 0.0122212 ms, median = 0.00814819 ms, percentile(90%) = 0.0253906 ms, percentile(95%) = 0.0270996 ms, percentile(99%) = 0.0515137 ms
[10/03/2024-10:47:59] [I] GPU Compute Time: min = 5.34595 ms, max = 13.3388 ms, mean = 7.58404 ms, median = 7.14139 ms, percentile(90%) = 10.2881 ms, percentile(95%) = 10.8175 ms, percentile(99%) = 12.9485 ms
[10/03/2024-10:47:59] [I] D2H Latency: min = 0.00390625 ms, max = 0.110596 ms, mean = 0.0100141 ms, median = 0.00439453 ms, percentile(90%) = 0.0254517 ms, percentile(95%) = 0.0319824 ms, percentile(99%) = 0.0994873 ms
[10/03/2024-10:47:59] [I] Total Host Walltime: 3.00082 s
[10/03/2024-10:47:59] [I] Total GPU Compute Time: 2.96536 s
"""  # noqa: E501
# WongKinYiu/yolov7 pull request 329, 2022-07-28 (TensorRT 8.4, --noDataTransfers).
WITHOUT_TRANSFERS = """
[07/28/2022-16:00:55] [I] === Performance summary ===
[07/28/2022-16:00:55] [I] Throughput: 716.632 qps
[07/28/2022-16:00:55] [I] Latency: min = 1.3476 ms, max = 1.5657 ms, mean = 1.38629 ms, median = 1.38037 ms, percentile(99%) = 1.55853 ms
[07/28/2022-16:00:55] [I] Enqueue Time: min = 0.0109863 ms, max = 0.0975342 ms, mean = 0.022185 ms, median = 0.0200195 ms, percentile(99%) = 0.071167 ms
[07/28/2022-16:00:55] [I] H2D Latency: min = 0 ms, max = 0 ms, mean = 0 ms, median = 0 ms, percentile(99%) = 0 ms
[07/28/2022-16:00:55] [I] GPU Compute Time: min = 1.3476 ms, max = 1.5657 ms, mean = 1.38629 ms, median = 1.38037 ms, percentile(99%) = 1.55853 ms
[07/28/2022-16:00:55] [I] D2H Latency: min = 0 ms, max = 0 ms, mean = 0 ms, median = 0 ms, percentile(99%) = 0 ms
[07/28/2022-16:00:55] [I] Total Host Walltime: 3.00294 s
[07/28/2022-16:00:55] [I] Total GPU Compute Time: 2.9833 s
[07/28/2022-16:00:55] [W] * GPU compute time is unstable, with coefficient of variance = 2.10486%.
[07/28/2022-16:00:55] [W]   If not already in use, locking GPU clock frequency or adding --useSpinWait may improve the stability.
"""  # noqa: E501


def test_times_are_read_by_what_was_timed_and_by_statistic() -> None:
    times = parse_trtexec(WITH_TRANSFERS)
    assert times is not None
    assert times.queries_per_s == 130.298
    assert times.ms["compute"] == {
        "min": 5.34595, "max": 13.3388, "mean": 7.58404, "median": 7.14139, "p90": 10.2881, "p95": 10.8175, "p99": 12.9485,
    }  # fmt: skip
    assert (times.ms["to_device"]["median"], times.ms["to_host"]["median"]) == (0.00814819, 0.00439453)
    assert times.with_transfers


def test_a_run_without_transfers_is_known_by_their_times_and_tells_what_it_complains_of() -> None:
    times = parse_trtexec(WITHOUT_TRANSFERS)
    assert times is not None
    assert not times.with_transfers
    assert times.ms["latency"] == times.ms["compute"]
    assert times.warnings == ("GPU compute time is unstable, with coefficient of variance = 2.10486%.",)


@pytest.mark.parametrize("text", ["", "&&&& FAILED TensorRT.trtexec [TensorRT v8205] # ./trtexec --onnx=debug.onnx"])
def test_a_run_that_failed_has_no_times(text: str) -> None:
    assert parse_trtexec(text) is None
