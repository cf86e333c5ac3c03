"""TensorRT: which version a device has, how a bundle is built there, and how an engine is run.

Nothing here imports TensorRT but `backends/trt.py` and the process that builds; what decides is plain data and functions,
which run and are tested anywhere.
"""
