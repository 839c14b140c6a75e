"""Checked records, ready to be asked: in the database that checked them, or in the files that keep them."""
