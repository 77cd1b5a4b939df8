"""The data set and its split: files read strictly, synthetic sets, the Duke converter.

Imports spaces alone.
"""
