"""What goes into kept records: keeping all that are on file, and adding new ones."""
