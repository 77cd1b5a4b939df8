"""`python -m search` is `mmtuna`."""

from search.cli import main

if __name__ == "__main__":
    main()
