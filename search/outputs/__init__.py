"""What is made from a study: its summary, report, bundle, comparison, the paper's tables. Values back, nothing printed.

Imports work and trials.
"""
