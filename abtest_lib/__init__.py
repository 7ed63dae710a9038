"""Nightly analysis of A/B experiments: definitions, statistics, decision and report."""

__version__ = "0.1.0"
