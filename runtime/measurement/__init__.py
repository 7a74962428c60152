"""Measures what a machine does with a model: `python -m runtime.measurement --help`.

The same program runs on an instance at boot, on this machine, and wherever else a row of the
comparison comes from. It writes its results after every scenario.
"""
