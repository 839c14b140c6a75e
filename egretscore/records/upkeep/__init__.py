"""What writes kept records: keeping all of them, and adding new ones."""
