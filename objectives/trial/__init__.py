"""A trial's own process: started and listened to from the worker's side, MMEngine's Runner within.

Imports data, config and evaluation; torch only where it runs in that process.
"""
