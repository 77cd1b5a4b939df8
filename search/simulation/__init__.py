"""Whole studies over recorded trials in simulated time: the study's own sampler and pruner, no training and no waiting.

Imports trials.
"""
