"""A trial around its training: its files, its end, what people are shown of it.

Imports no other folder of search.
"""
