"""A study is prepared and worked on: checks, slots, workers.

Imports trials.
"""
