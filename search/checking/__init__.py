"""What stands between a spec and its first trial, checked and measured: data, configs, costs, earlier studies.

Imported by work; imports nothing of it.
"""
