"""What `mmtuna init` proposes: a spec's tables from an MMSegmentation config, or from a folder; and why. Values back.

Imports work.
"""
