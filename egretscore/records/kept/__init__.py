"""The folder in which checked records are kept: its files, what tells whether they changed, and erasing from it."""
