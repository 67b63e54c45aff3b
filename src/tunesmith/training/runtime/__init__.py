"""Processes, devices, kernels: how a run is spread over the machine."""
