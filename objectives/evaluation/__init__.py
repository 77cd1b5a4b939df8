"""Counts of pixels, the metrics that are functions of them, and pictures of what was missed.

Imports spaces alone.
"""
