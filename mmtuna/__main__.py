"""`python -m mmtuna` is `mmtuna`."""


def main() -> None:
    """The command, which may be interrupted while it still imports what it needs."""
    try:
        from mmtuna.search.cli import main as command
    except KeyboardInterrupt:
        from mmtuna.search.work.signals import end_by_ctrl_c

        end_by_ctrl_c()
    command()


if __name__ == "__main__":
    main()
