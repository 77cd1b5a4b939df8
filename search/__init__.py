"""What a person starts: the command line, the workers and their progress."""
