"""What each command does, behind the command line.

Imports every other folder of search.
"""
