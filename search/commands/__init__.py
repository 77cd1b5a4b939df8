"""What each command prints, a module a command: the spec is read, what is asked for made elsewhere and shown here.

Imports every other folder of search.
"""
