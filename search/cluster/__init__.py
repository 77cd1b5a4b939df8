"""A study on a Ray cluster, one task a trial. Ray is imported here alone.

Imports work.
"""
