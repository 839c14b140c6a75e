"""Records coming in, from files and frames: each cell is read and checked, and bad rows are set aside."""
