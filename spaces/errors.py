"""The one exception for everything a person can mend: a spec, a file, a name, a setting."""


class InputError(ValueError):
    """Bad input, told in one line: what is wrong, where, and what would be right.

    Commands turn it into one line on stderr and exit status 2, never into a traceback.
    """
