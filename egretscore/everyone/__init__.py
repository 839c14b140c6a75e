"""Everyone through the rooms, part by part, into files: on one machine, day by day, on a cluster."""
