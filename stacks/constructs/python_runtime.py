"""The Lambda runtime for a Python version."""

from __future__ import annotations

from aws_cdk import aws_lambda as lambda_


def python_runtime(version: str) -> lambda_.Runtime:
    """`3.13` as a runtime; SnapStart from 3.12 on."""
    return lambda_.Runtime(
        f"python{version}",
        lambda_.RuntimeFamily.PYTHON,
        supports_snap_start=version != "3.11",
    )
